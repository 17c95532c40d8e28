"""Formats a log record as one line of JSON, with the format and names of Powertools' Logger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

from coachstream.observability.invocation import current_invocation

if TYPE_CHECKING:
    from aws_lambda_powertools.logging.types import LogRecord


class JsonFormatter(LambdaPowertoolsFormatter):
    """Powertools' formatter, safe for concurrent invocations.

    Powertools' `Logger` keeps an invocation's keys on the process's single formatter, and reads the trace
    from the process's environment. Here both come from the context in which a record is logged.
    """

    def __init__(self) -> None:
        super().__init__(
            json_serializer=one_line,
            log_record_order=["level", "message", "timestamp", "location"],
            # Lambda reads level and time from a JSON line, but only RFC 3339 times (developer guide,
            # "Log-level filtering").
            use_rfc3339=True,
            utc=True,
            serialize_stacktrace=False,
            service=None,
        )

    def serialize(self, log: LogRecord) -> str:
        """Encode a line, with the ids of its invocation."""
        ids = current_invocation.get()
        if ids is None:
            return super().serialize(log)
        named = {
            **log,
            "function_request_id": ids.request_id,
            "function_name": ids.function_name,
            "xray_trace_id": ids.trace_id,
        }
        return one_line({name: value for name, value in named.items() if value is not None})


def one_line(document: Mapping[str, object]) -> str:
    """JSON in ASCII, so that no reader splits it into lines; other values are replaced by their type."""
    return json.dumps(document, default=lambda value: f"<{type(value).__qualname__}>", separators=(",", ":"))
