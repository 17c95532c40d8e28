"""The counts of a campaign, and the table that shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

HEADINGS = (
    "campaign",
    "messages",
    "faults",
    "lost",
    "duplicated",
    "texts that differ",
    "not linearizable",
    "model calls per run",
    "abnormal exits",
)


@dataclass
class Tally:
    """Counts of one campaign.

    Attributes:
        name: the name of the campaign.
        messages: the messages sent, each retried until it had its reply.
        faults: the injected faults, by kind.
        problems: an explanation of each violation, by kind: `lost`, `duplicated`, `differs`, `order`,
            `abnormal`.
        model_calls: the model calls of all runs; None where the model does not count them.
    """

    name: str
    messages: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    problems: dict[str, list[str]] = field(
        default_factory=lambda: {"lost": [], "duplicated": [], "differs": [], "order": [], "abnormal": []}
    )
    model_calls: int | None = None

    def add(self, kind: str, problem: str) -> None:
        """Record a violation."""
        self.problems[kind].append(problem)

    @property
    def is_clean(self) -> bool:
        """Whether there was no violation."""
        return not any(self.problems.values())

    def row(self) -> tuple[str, ...]:
        """The campaign's row in the table."""
        calls = "-" if self.model_calls is None else f"{self.model_calls / max(1, self.messages):.2f}"
        counted = (len(self.problems[kind]) for kind in ("lost", "duplicated", "differs", "order"))
        return (
            self.name,
            str(self.messages),
            str(self.faults.total()),
            *map(str, counted),
            calls,
            str(len(self.problems["abnormal"])),
        )

    def details(self) -> Iterable[str]:
        """The faults by kind, and every problem."""
        yield f"{self.name}: {', '.join(f'{count} {kind}' for kind, count in sorted(self.faults.items()))}"
        for kind, problems in self.problems.items():
            for problem in problems:
                yield f"  {kind}: {problem}"


def table(tallies: Iterable[Tally]) -> str:
    """All campaigns in columns."""
    rows = [HEADINGS, *(tally.row() for tally in tallies)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
