"""What a run of `whole_turn.py` found: as a table with ratios, as JSON, and as a plot."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from measuring.contenders import OURS
from measuring.machine import machine_line
from measuring.turns import Turn


class Measure(msgspec.Struct, frozen=True):
    """A row of the table.

    Attributes:
        field: of `Turn`.
        label: with the unit.
        of_cold_turns: whether cold turns have it; their replies are too short for percentiles.
        has_ratio: whether less of it is better.
    """

    field: str
    label: str
    of_cold_turns: bool = True
    has_ratio: bool = True


MEASURES = (
    Measure("start_ms", "start, ms"),
    Measure("first_chunk_ms", "first chunk, ms"),
    Measure("chunk_p50_ms", "a chunk p50, ms", of_cold_turns=False),
    Measure("chunk_p99_ms", "a chunk p99, ms", of_cold_turns=False),
    Measure("chunk_events", "chunk events", of_cold_turns=False, has_ratio=False),
    Measure("total_ms", "total, ms"),
    Measure("cpu_ms", "CPU, ms"),
    Measure("memory_mb", "peak memory, MiB"),
)
REQUESTS = "DynamoDB requests"
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)


class Result(msgspec.Struct, frozen=True):
    """The turns of one contender in one scenario.

    Attributes:
        scenario: its name.
        contender: its name.
        turns: in the order they were run.
        requests: DynamoDB requests of another turn by operation, which was not timed; None if not counted.
    """

    scenario: str
    contender: str
    turns: Sequence[Turn]
    requests: Mapping[str, int] | None


class Scenario(msgspec.Struct, frozen=True):
    """What was asked of every contender.

    Attributes:
        name: its name in options and results.
        what: one line for people.
        is_cold: whether each turn started a new execution environment.
    """

    name: str
    what: str
    is_cold: bool


class Report(msgspec.Struct, frozen=True):
    """A run.

    Attributes:
        measured_at: `YYYY-MM-DDTHH:MM:SS.mmmZ`.
        machine: what it ran on, and the versions of what was run.
        rounds: the number of turns of each contender in each scenario.
        contenders: what each is made of, by name; ours is the first.
        scenarios: in the order of the table.
        results: for each scenario and contender.
    """

    measured_at: str
    machine: Mapping[str, str]
    rounds: int
    contenders: Mapping[str, str]
    scenarios: Sequence[Scenario]
    results: Sequence[Result]


class _Row(msgspec.Struct, frozen=True):
    """A measure's figures by contender."""

    label: str
    figures: Mapping[str, float]
    has_ratio: bool = True

    def ratio(self, peer: str) -> float:
        return self.figures[OURS] / self.figures[peer]


def read_json(path: Path) -> Report:
    """Read a report that was written with `command_line.write_json`.

    Raises:
        OSError: it cannot be read.
        msgspec.DecodeError: it is something else.
    """
    return msgspec.json.decode(path.read_bytes(), type=Report)


def table(report: Report) -> str:
    """The medians of every scenario, and how ours compare: below 1, ours is better."""
    names = list(report.contenders)
    peers = _peers(report)
    heads = [f"{name:>12}" for name in names] + [f"{f'/ {peer}':>14}" for peer in peers]
    lines = [f"{name:12} {what}" for name, what in report.contenders.items()]
    lines += [f"medians of {report.rounds}; ratios: {OURS} / peer, below 1 is better", ""]
    for scenario in report.scenarios:
        lines += [scenario.what, f"{'':20}{''.join(heads)}"]
        for row in _rows(report, scenario):
            figures = [f"{row.figures[name]:12.2f}" for name in names]
            ratios = [f"{row.ratio(peer):14.2f}" for peer in peers if row.has_ratio]
            lines.append(f"{row.label:20}{''.join(figures)}{''.join(ratios)}")
        lines.append("")
    lines.append(machine_line(report.machine))
    return "\n".join(lines)


def _peers(report: Report) -> Sequence[str]:
    return [name for name in report.contenders if name != OURS]


def _rows(report: Report, scenario: Scenario) -> Iterator[_Row]:
    results = {each.contender: each for each in report.results if each.scenario == scenario.name}
    for measure in MEASURES:
        if measure.of_cold_turns or not scenario.is_cold:
            yield _Row(
                measure.label,
                {
                    name: statistics.median(getattr(turn, measure.field) for turn in result.turns)
                    for name, result in results.items()
                },
                measure.has_ratio,
            )
    if all(result.requests for result in results.values()):
        yield _Row(
            REQUESTS, {name: sum((result.requests or {}).values()) for name, result in results.items()}
        )


def plot(report: Report, path: Path) -> None:
    """Draw the ratios, one panel a scenario; the file's suffix chooses the format."""
    import matplotlib as mpl

    mpl.use("Agg")
    # The same input makes the same file.
    mpl.rcParams |= {"svg.hashsalt": "whole-turn", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot as plt

    peers = _peers(report)
    columns = min(2, len(report.scenarios))
    lines = -(-len(report.scenarios) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(9, 0.4 + 2.7 * lines), sharex=True, squeeze=False)
    for panel in axes.flat[len(report.scenarios) :]:
        panel.set_visible(False)
    for panel, scenario in zip(axes.flat, report.scenarios, strict=False):
        rows = [row for row in _rows(report, scenario) if row.has_ratio]
        for number, peer in enumerate(peers):
            height = 0.8 / len(peers)
            places = [at + (number - (len(peers) - 1) / 2) * height for at in range(len(rows))]
            lengths = [row.ratio(peer) - 1 for row in rows]
            panel.barh(places, lengths, height, left=1, label=f"{OURS} / {peer}")
        panel.set_xscale("log")
        panel.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        panel.minorticks_off()
        panel.axvline(1, color="black", linewidth=0.8)
        panel.set_yticks(range(len(rows)), [row.label.partition(",")[0] for row in rows])
        panel.invert_yaxis()
        panel.set_title(scenario.what, fontsize=9, loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(peers), frameon=False)
    figure.suptitle("Left of 1, coachstream is better", fontsize=10)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
