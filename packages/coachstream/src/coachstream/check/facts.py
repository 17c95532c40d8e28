"""Which dated facts are due for review: `python -m coachstream.check.facts [--json] [--today DATE]`.

A fact is due when its source was last reviewed more than `LOOK_AGAIN_AFTER` ago, when it has ended, or when
it ends within `SAY_BEFORE`. A row about the past (a retired model) has no `ends`: it remains true.

To register a table, define `DATED_FACTS` in its module and add it to `TABLES`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import msgspec

from coachstream.check import security_floors
from coachstream.conversation import visible_text
from coachstream.dated_facts import Provenance
from coachstream.deployment import toolkit
from coachstream.infrastructure import inference_profiles, prices, quotas, target
from coachstream.language.bedrock import model_families, refusals

LOOK_AGAIN_AFTER = timedelta(days=183)
"""Half a year."""

SAY_BEFORE = timedelta(days=90)
"""How long before its end a fact is due: replacing a model or a runtime takes weeks."""

TABLES: Mapping[str, Mapping[str, Provenance]] = {
    "what the functions run on": target.DATED_FACTS,
    "what a deployment runs on": toolkit.DATED_FACTS,
    "regions of models": inference_profiles.DATED_FACTS,
    "prices": prices.DATED_FACTS,
    "quotas": quotas.DATED_FACTS,
    "models on Bedrock": model_families.DATED_FACTS,
    "refusals of Bedrock": refusals.DATED_FACTS,
    "characters": visible_text.DATED_FACTS,
    "oldest releases": security_floors.DATED_FACTS,
}
"""Every table of dated facts, by its subject; its rows by fact."""


class Reason(StrEnum):
    """Why a fact is due."""

    ENDED = "ended"
    ENDS_SOON = "ends soon"
    OLD = "not looked up for six months"


class DueFact(msgspec.Struct, frozen=True, kw_only=True):
    """A fact to review, and its source."""

    table: str
    fact: str
    reason: Reason
    source: str
    looked_up: date
    ends: date | None


class FactsReport(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that are due on a day.

    Attributes:
        today: the day.
        facts: the number of facts in all tables.
        due: the facts to review.
    """

    today: date
    facts: int
    due: tuple[DueFact, ...]


def facts_due(today: date, tables: Mapping[str, Mapping[str, Provenance]] = TABLES) -> FactsReport:
    """Find the facts that are due in the tables."""
    return FactsReport(
        today=today, facts=sum(map(len, tables.values())), due=tuple(_due_facts(today, tables))
    )


def _due_facts(today: date, tables: Mapping[str, Mapping[str, Provenance]]) -> Iterator[DueFact]:
    for table, rows in tables.items():
        for fact, provenance in rows.items():
            reason = _reason(today, provenance)
            if reason is not None:
                yield DueFact(
                    table=table,
                    fact=fact,
                    reason=reason,
                    source=provenance.source,
                    looked_up=provenance.looked_up,
                    ends=provenance.ends,
                )


def _reason(today: date, provenance: Provenance) -> Reason | None:
    if provenance.ends is not None and provenance.ends <= today:
        return Reason.ENDED
    if provenance.ends is not None and provenance.ends - today <= SAY_BEFORE:
        return Reason.ENDS_SOON
    if today - provenance.looked_up > LOOK_AGAIN_AFTER:
        return Reason.OLD
    return None


def _lines(report: FactsReport) -> Iterator[str]:
    for due in report.due:
        ends = "" if due.ends is None else f", ends {due.ends}"
        yield f"{due.table}: {due.fact}: {due.reason} (looked up {due.looked_up}{ends})"
        yield f"  {due.source}"
    yield f"{report.facts} dated facts, {len(report.due)} due on {report.today}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m coachstream.check.facts",
        description="List the facts about third-party services that are due for review. "
        "The exit status is 1 if there are any.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--today",
        type=date.fromisoformat,
        default=datetime.now(UTC).date(),
        metavar="YYYY-MM-DD",
        help="the reference day; today by default",
    )
    return parser


def main() -> int:
    """Print the facts that are due.

    Returns:
        The exit status: 1 if anything is due.
    """
    arguments = _parser().parse_args()
    report = facts_due(arguments.today)
    if arguments.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    else:
        sys.stdout.write("\n".join(_lines(report)) + "\n")
    return 1 if report.due else 0


if __name__ == "__main__":
    sys.exit(main())
