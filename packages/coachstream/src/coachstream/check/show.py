"""Prints a report as text, to a terminal or a file."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coachstream.check.report import Finding, Report, Verdict

_STYLES = {
    Verdict.OK: "green",
    Verdict.WARNING: "bold yellow",
    Verdict.FAILED: "bold red",
    Verdict.OFF: "dim",
    Verdict.SKIPPED: "yellow",
}


def show(report: Report, console: Console) -> None:
    """Print a table on a terminal, and plain lines elsewhere."""
    if report.problems:
        _print(console, "The configuration has errors:")
        for problem in report.problems:
            _print(console, f"  {problem}")
        _print(console, "docs/reference/settings.md lists every variable; `coachstream serve` needs none.")
    elif console.is_terminal:
        console.print(_table(report.parts))
    else:
        for finding in report.parts:
            _print(console, _lines(finding))


def _table(findings: tuple[Finding, ...]) -> Table:
    table = Table("Part", "Configured", "Verdict", show_lines=True)
    for finding in findings:
        facts = [f"{name}: {value}" for name, value in finding.facts.items()]
        verdict = Text(finding.verdict, style=_STYLES[finding.verdict])
        verdict.append(f"\n{finding.message}", style="default")
        if finding.remedy is not None:
            verdict.append(f"\n{finding.remedy}", style="italic default")
        table.add_row(finding.part, Text("\n".join(filter(None, (finding.choice, *facts)))), verdict)
    return table


def _lines(finding: Finding) -> str:
    choice = "" if finding.choice in {"", finding.verdict} else f" ({finding.choice})"
    lines = [f"{finding.part}: {finding.verdict}{choice}"]
    lines += [f"  {name}: {value}" for name, value in finding.facts.items()]
    lines.append(f"  {finding.message}")
    if finding.remedy is not None:
        lines.append(f"  -> {finding.remedy}")
    return "\n".join(lines)


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
