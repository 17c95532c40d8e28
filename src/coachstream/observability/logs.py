"""Logs as JSON, a line each, with the ids of the invocation in every line (Powertools' format).

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


def set_up_logging(level: int) -> None:
    """Log as JSON to standard output from now on; a second call changes the level only."""
    quiet_libraries()
    for name in OURS:
        ours = logging.getLogger(name)
        ours.setLevel(level)
        ours.propagate = False  # awslambdaric has put a handler at the root, and would print every line again
        if not any(isinstance(handler, JsonHandler) for handler in ours.handlers):
            ours.addHandler(JsonHandler())


def quiet_libraries() -> None:
    """Hear from libraries only what is a warning or worse."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)


class JsonHandler(logging.Handler):
    """Prints records as JSON, each in one piece; imports what formats them with the first one."""

    def __init__(self) -> None:
        super().__init__()
        self._json: LambdaPowertoolsFormatter | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        try:
            line = self._formatter().format(_without_secrets(record))
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except Exception:  # noqa: BLE001 (logging never fails what it tells of)
            sys.stderr.write("A log record could not be formatted.\n")

    def _formatter(self) -> LambdaPowertoolsFormatter:
        if self._json is None:
            from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

            self._json = LambdaPowertoolsFormatter(
                log_record_order=["level", "message", "timestamp", "location"],
                use_rfc3339=True,
                utc=True,
                serialize_stacktrace=False,
                service=None,
            )
        return self._json


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
