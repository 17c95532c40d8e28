"""Logs, one line per record: JSON with the ids of the invocation (Powertools' format), or text for people.

Our own code logs no user text and no tokens. Three mechanisms guard against accidents: an exception is logged
as its type and origin; libraries log only warnings and errors, whatever the level, also through the runtime's
root handler (see `redaction`); and a record that cannot be formatted is dropped, not printed with its
arguments.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from coachstream.observability.redaction import OURS, REDACTING_FILTER, quiet_libraries, redacted
from coachstream.settings import LogFormat, Logs

if TYPE_CHECKING:
    from coachstream.observability.json_format import JsonFormatter


def set_up_logging(logs: Logs) -> None:
    """Log to standard output from now on, with the configured format and level.

    A second call changes the level and nothing else.
    """
    quiet_libraries()
    root = logging.getLogger()
    # Lambda's log level may be DEBUG, and libraries would format details that are then discarded.
    root.setLevel(max(root.level, logging.WARNING))
    for handler in (*root.handlers, logging.lastResort):
        if handler is not None:
            handler.addFilter(REDACTING_FILTER)
    for name in OURS:
        ours = logging.getLogger(name)
        ours.setLevel(logs.level.upper())
        ours.propagate = False  # awslambdaric's root handler would print every line again
        if not any(isinstance(handler, LineHandler) for handler in ours.handlers):
            ours.addHandler(JsonHandler() if logs.format is LogFormat.JSON else TextHandler())


class LineHandler(logging.Handler):
    """Prints each record with one write."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        try:
            line = self.line_of(redacted(record))
        except Exception:  # noqa: BLE001 (logging must never fail the caller)
            line = "A log record could not be formatted."
        with suppress(OSError, ValueError):  # standard output is closed
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def line_of(self, record: logging.LogRecord) -> str:
        """A record on one line."""
        raise NotImplementedError


class TextHandler(LineHandler):
    """Prints records for people."""

    def line_of(self, record: logging.LogRecord) -> str:
        """Level, message and the origin of an exception, if any."""
        cause = getattr(record, "cause", None)
        said = record.getMessage() if cause is None else f"{record.getMessage()}: {cause}"
        return f"{record.levelname:<7} " + " ".join(said.split())


class JsonHandler(LineHandler):
    """Prints records as JSON; imports the formatter at the first record."""

    def __init__(self) -> None:
        super().__init__()
        self._json: JsonFormatter | None = None

    def line_of(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        if self._json is None:
            from coachstream.observability.json_format import JsonFormatter

            self._json = JsonFormatter()
        return self._json.format(record)
