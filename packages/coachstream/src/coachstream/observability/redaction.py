"""What no log record may say, whoever logs it.

Our own code logs no text of a user's, no token and no header. Two things would: an exception, whose text and
traceback quote what it was about; and libraries, which log requests, bodies and headers when they are asked
for details.
"""

from __future__ import annotations

import logging

from coachstream.conversation.errors import describe_exception

OURS = ("coachstream", "lambda_streaming")

LIBRARIES = (
    "aiobotocore",
    "aiohttp",
    "asyncio",
    "aws_lambda_powertools",
    "boto3",
    "botocore",
    "httpcore",
    "httpx",
    "pinecone",
    "urllib3",
    "uvicorn.access",
)
"""Those that are known to talk; handlers that are `REDACTING_FILTER` hear no other library either."""


def quiet_libraries() -> None:
    """Hear from libraries only what is a warning or worse."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def redacted(record: logging.LogRecord) -> logging.LogRecord:
    """A copy in which an exception is its type and its describe_exception.

    Only our own messages stay beside it: others quote the exception in theirs (asyncio: `exception=...`).
    """
    copy = logging.makeLogRecord(record.__dict__)
    copy.exc_info = copy.exc_text = copy.stack_info = None
    if record.exc_info or record.exc_text:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        cause = "an exception" if error is None else describe_exception(error)
        if error is not None:
            copy.__dict__["exception_name"] = type(error).__qualname__
        if record.name.partition(".")[0] == "coachstream":
            copy.__dict__["cause"] = cause
        else:
            copy.msg, copy.args = cause, ()
    return copy


class RedactingFilter(logging.Filter):
    """For handlers that are not ours: reduces records, and hears libraries only from a warning on."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Reduce the record itself, for every handler that comes later; false if nobody is to see it."""
        if record.levelno < logging.WARNING and record.name.partition(".")[0] not in OURS:
            return False
        record.__dict__.update(redacted(record).__dict__)
        return True


REDACTING_FILTER = RedactingFilter()
