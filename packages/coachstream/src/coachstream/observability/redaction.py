"""Redacts log records, whichever code logs them.

Our own code logs no user text, no token and no header. Two sources would: exceptions, whose text and
traceback may quote data; and libraries, which log requests, bodies and headers at verbose levels.
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
"""Libraries known to be verbose; `REDACTING_FILTER` also silences all others."""


def quiet_libraries() -> None:
    """Limit libraries to warnings and errors."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


def redacted(record: logging.LogRecord) -> logging.LogRecord:
    """A copy in which an exception is reduced to its type and origin (`describe_exception`).

    Only our own messages are kept with it: others quote the exception (asyncio: `exception=...`).
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
    """For foreign handlers: redacts records, and drops those of libraries below WARNING."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place, for all later handlers; false to drop it."""
        if record.levelno < logging.WARNING and record.name.partition(".")[0] not in OURS:
            return False
        record.__dict__.update(redacted(record).__dict__)
        return True


REDACTING_FILTER = RedactingFilter()
