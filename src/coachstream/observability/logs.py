"""Logs, a line each: as JSON with the ids of the invocation (Powertools' format), or as text for a person.

What our own code logs holds no text of a user's and no token. Three things keep it so against accidents: an
exception is logged by its type alone, for its text and its traceback may quote what it was about; libraries,
which log requests and headers when they are asked for details, are heard from a warning on whatever the level
is; and a record that cannot be formatted is dropped, not printed with its arguments.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from coachstream.observability.invocation import current_invocation
from coachstream.settings import LogFormat, Logs

if TYPE_CHECKING:
    from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

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
)


def set_up_logging(logs: Logs) -> None:
    """Log to standard output from now on, in the format and from the level that are set.

    A second call changes the level and nothing else.
    """
    quiet_libraries()
    for name in OURS:
        ours = logging.getLogger(name)
        ours.setLevel(logs.level.upper())
        ours.propagate = False  # awslambdaric has put a handler at the root, and would print every line again
        if not any(isinstance(handler, LineHandler) for handler in ours.handlers):
            ours.addHandler(JsonHandler() if logs.format is LogFormat.JSON else TextHandler())


def quiet_libraries() -> None:
    """Hear from libraries only what is a warning or worse."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


class LineHandler(logging.Handler):
    """Prints records, each in one piece."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        try:
            line = self.line_of(_without_secrets(record))
        except Exception:  # noqa: BLE001 (logging never fails what it tells of)
            line = "A log record could not be formatted."
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def line_of(self, record: logging.LogRecord) -> str:
        """A record on one line."""
        raise NotImplementedError


class TextHandler(LineHandler):
    """Prints records for a person."""

    def line_of(self, record: logging.LogRecord) -> str:
        """Level and message."""
        return f"{record.levelname:<7} " + " ".join(record.getMessage().split())


class JsonHandler(LineHandler):
    """Prints records as JSON; imports what formats them with the first one."""

    def __init__(self) -> None:
        super().__init__()
        self._json: LambdaPowertoolsFormatter | None = None

    def line_of(self, record: logging.LogRecord) -> str:
        """Everything that is known of a record."""
        if self._json is None:
            from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

            self._json = LambdaPowertoolsFormatter(
                log_record_order=["level", "message", "timestamp", "location"],
                use_rfc3339=True,
                utc=True,
                serialize_stacktrace=False,
                service=None,
            )
        return self._json.format(record)


def _without_secrets(record: logging.LogRecord) -> logging.LogRecord:
    """A copy for the formatter: with the invocation's ids, and of an exception nothing but its type."""
    copy = logging.makeLogRecord(record.__dict__)
    copy.exc_text = copy.stack_info = None
    if copy.exc_info:
        kind = copy.exc_info[0]
        copy.exc_info = None
        copy.__dict__["exception_name"] = None if kind is None else kind.__qualname__
    ids = current_invocation.get()
    if ids is not None:
        copy.__dict__ |= {
            "function_request_id": ids.request_id,
            "function_name": ids.function_name,
            "xray_trace_id": ids.trace_id,
        }
    return copy
