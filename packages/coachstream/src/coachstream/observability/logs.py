"""Logs, a line each: as JSON with the ids of the invocation (Powertools' format), or as text for a person.

What our own code logs holds no text of a user's and no token. Three things keep it so against accidents: an
exception is logged by its type and where it came from; libraries are heard from a warning on whatever the
level is, by the handler that the runtime has put at the root too (see `redaction`); and a record that cannot
be formatted is dropped, not printed with its arguments.
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
    """Log to standard output from now on, in the format and from the level that are set.

    A second call changes the level and nothing else.
    """
    quiet_libraries()
    root = logging.getLogger()
    # Lambda's own log level may be DEBUG, and every library would format all its details for nobody.
    root.setLevel(max(root.level, logging.WARNING))
    for handler in (*root.handlers, logging.lastResort):
        if handler is not None:
            handler.addFilter(REDACTING_FILTER)
    for name in OURS:
        ours = logging.getLogger(name)
        ours.setLevel(logs.level.upper())
        ours.propagate = False  # awslambdaric has put a handler at the root, and would print every line again
        if not any(isinstance(handler, LineHandler) for handler in ours.handlers):
            ours.addHandler(JsonHandler() if logs.format is LogFormat.JSON else TextHandler())


class LineHandler(logging.Handler):
    """Prints records, each in one piece."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        try:
            line = self.line_of(redacted(record))
        except Exception:  # noqa: BLE001 (logging never fails what it tells of)
            line = "A log record could not be formatted."
        with suppress(OSError, ValueError):  # nobody reads any more
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def line_of(self, record: logging.LogRecord) -> str:
        """A record on one line."""
        raise NotImplementedError


class TextHandler(LineHandler):
    """Prints records for a person."""

    def line_of(self, record: logging.LogRecord) -> str:
        """Level, message and, of an exception, where it came from."""
        cause = getattr(record, "cause", None)
        said = record.getMessage() if cause is None else f"{record.getMessage()}: {cause}"
        return f"{record.levelname:<7} " + " ".join(said.split())


class JsonHandler(LineHandler):
    """Prints records as JSON; imports what formats them with the first one."""

    def __init__(self) -> None:
        super().__init__()
        self._json: JsonFormatter | None = None

    def line_of(self, record: logging.LogRecord) -> str:
        """Everything that is known of a record."""
        if self._json is None:
            from coachstream.observability.json_format import JsonFormatter

            self._json = JsonFormatter()
        return self._json.format(record)
