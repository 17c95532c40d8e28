"""What a process imports, by top-level package, as `-X importtime` reports it on its standard error."""

from __future__ import annotations

import logging
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Self

import msgspec

OUTPUT = logging.getLogger("lambda_streaming.emulator.output")
"""The emulator logs here what a function prints."""

_STANDARD_LIBRARY = "standard library"


class Imports(msgspec.Struct, frozen=True):
    """The modules of a top-level package that a cold turn imports.

    Attributes:
        package: its name.
        modules: how many.
        before_ms: for those imported before `start`, the median.
        after_ms: for the others, the median.
    """

    package: str
    modules: int
    before_ms: float
    after_ms: float


class ImportLines(logging.Handler):
    """Collects the lines of the report during a block.

    Attributes:
        lines: each with the moment it was printed, on the clock `time.monotonic`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[float, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line of the report."""
        _, mark, report = record.getMessage().partition("import time:")
        if mark:
            self.lines.append((time.monotonic(), report))

    def __enter__(self) -> Self:
        OUTPUT.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        OUTPUT.removeHandler(self)


_Modules = dict[str, list[tuple[float, bool]]]
"""For each module of a package: milliseconds, and whether it was imported before `start`."""


def modules_of(lines: Iterable[tuple[float, str]], *, start_at: float) -> _Modules:
    """The modules that one turn imported, by package.

    Args:
        lines: of the report, each with the moment it was printed.
        start_at: of the event `start`.
    """
    found: _Modules = {}
    for at, line in lines:
        own_us, _, module = (part.strip() for part in line.split("|"))
        if own_us.isdecimal():
            package = module.partition(".")[0]
            if package in sys.stdlib_module_names or package in {"encodings", "site", "zipimport"}:
                package = _STANDARD_LIBRARY
            found.setdefault(package, []).append((int(own_us) / 1000, at <= start_at))
    return found


def medians(reports: Sequence[_Modules]) -> Sequence[Imports]:
    """The imports of several turns, the slowest package first."""
    imports = []
    for package in {package for report in reports for package in report}:
        halves = [
            statistics.median(
                sum(ms for ms, is_before in report.get(package, ()) if is_before is wanted)
                for report in reports
            )
            for wanted in (True, False)
        ]
        modules = int(statistics.median(len(report.get(package, ())) for report in reports))
        imports.append(Imports(package, modules, *halves))
    return sorted(imports, key=lambda each: -(each.before_ms + each.after_ms))
