"""The loggers of a process that handles invocations."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from coachstream.observability.discretion import DISCREET, OURS, quiet_libraries
from coachstream.observability.output import print_line

if TYPE_CHECKING:
    from coachstream.settings import LogLevel

_TEXT = "%(levelname)-7s %(message)s"


def set_up_logging(level: LogLevel, *, as_json: bool = True) -> None:
    """Set up all loggers, ours and those of libraries; cheap, and may be called again.

    As JSON, our loggers print to standard output, and nothing of theirs reaches the handler that the runtime
    has put at the root. As text, they are left to that handler, which knows request ids too; where there is
    none, they print to standard error. Either way no handler of the root prints an exception's text or a
    library's details.

    Args:
        level: the least severe records of our own that are logged.
        as_json: or as text, for a person at a terminal.
    """
    # Otherwise logging prints the arguments of a record that cannot be formatted.
    logging.raiseExceptions = False
    quiet_libraries()
    root = logging.getLogger()
    if not as_json and not root.handlers:
        logging.basicConfig(format=_TEXT)
    for handler in (*root.handlers, logging.lastResort):
        if handler is not None:
            handler.addFilter(DISCREET)
    for name in OURS:
        ours = logging.getLogger(name)
        ours.setLevel(level.upper())
        ours.propagate = not as_json
        for handler in [handler for handler in ours.handlers if isinstance(handler, JsonHandler)]:
            ours.removeHandler(handler)
        if as_json:
            ours.addHandler(JsonHandler())


class JsonHandler(logging.Handler):
    """Prints records as JSON, a line each; imports what formats them with the first one."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(DISCREET)

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its end."""
        if self.formatter is None:
            from coachstream.observability.json_format import JsonFormatter

            self.formatter = JsonFormatter()
        return self.formatter.format(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; logging never fails what it tells of."""
        try:
            print_line(self.format(record))
        except Exception:  # noqa: BLE001
            with suppress(OSError, ValueError):
                sys.stderr.write(f"A record of {record.name} could not be logged.\n")
