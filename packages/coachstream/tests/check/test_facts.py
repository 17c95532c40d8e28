"""Facts about external services are registered, and reported when they need another look."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from datetime import date, timedelta

import pytest

from coachstream.check.facts import LOOK_AGAIN_AFTER, SAY_BEFORE, TABLES, Reason, facts_due
from coachstream.dated_facts import Provenance
from support.places import COACHSTREAM

SRC = COACHSTREAM / "src"
LOOKED_UP = date(2026, 11, 27)
ENDS = date(2029, 6, 30)


def reason_on(today: date, provenance: Provenance) -> Reason | None:
    """Why a table with this single row is due on a day, if it is."""
    report = facts_due(today, {"models": {"the default": provenance}})
    assert report.facts == 1
    return report.due[0].reason if report.due else None


@pytest.mark.parametrize(
    ("today", "reason"),
    [
        (LOOKED_UP, None),
        (LOOKED_UP + LOOK_AGAIN_AFTER, None),
        (LOOKED_UP + LOOK_AGAIN_AFTER + timedelta(days=1), Reason.OLD),
    ],
)
def test_a_fact_that_was_not_looked_up_for_six_months_is_due(today: date, reason: Reason | None) -> None:
    """Whether or not an end has been announced."""
    assert reason_on(today, Provenance(source="a page", looked_up=LOOKED_UP)) is reason


@pytest.mark.parametrize(
    ("today", "reason"),
    [
        (ENDS - SAY_BEFORE - timedelta(days=1), None),
        (ENDS - SAY_BEFORE, Reason.ENDS_SOON),
        (ENDS - timedelta(days=1), Reason.ENDS_SOON),
        (ENDS, Reason.ENDED),
    ],
)
def test_a_fact_that_ends_is_due_before_it_does(today: date, reason: Reason | None) -> None:
    """However recently it was looked up."""
    assert reason_on(today, Provenance(source="a page", looked_up=today, ends=ENDS)) is reason


def modules_with_dated_facts() -> list[str]:
    """The modules that state a fact's source."""
    found = []
    for path in sorted(SRC.rglob("*.py")):
        calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        if any(isinstance(called, ast.Name) and called.id == "Provenance" for called in calls):
            found.append(".".join(path.relative_to(SRC).with_suffix("").parts))
    return found


def test_every_table_of_dated_facts_is_registered() -> None:
    """A module with a `Provenance` has a complete `DATED_FACTS`, which `TABLES` includes."""
    names = modules_with_dated_facts()
    assert names
    for name in names:
        module = importlib.import_module(name)
        assert any(module.DATED_FACTS is table for table in TABLES.values()), name
        constants = [value for value in vars(module).values() if isinstance(value, Provenance)]
        assert all(constant in module.DATED_FACTS.values() for constant in constants), name


def test_every_fact_has_a_source_that_can_be_found_again() -> None:
    """The day of the last look-up is not in the future."""
    for table, rows in TABLES.items():
        assert rows, table
        for fact, provenance in rows.items():
            assert len(provenance.source) > 10, fact
            assert provenance.looked_up <= date.today(), fact  # noqa: DTZ011 (in the author's time zone)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command that `make check-facts` runs."""
    command = [sys.executable, "-m", "coachstream.check.facts", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_lists_what_is_due_and_fails() -> None:
    """After fifty years everything is due, as text and as JSON."""
    told = run("--today", "2076-01-01")
    assert told.returncode == 1
    assert "python3.14" in told.stdout
    due = json.loads(run("--today", "2076-01-01", "--json").stdout)
    assert due["facts"] == len(due["due"]) == sum(map(len, TABLES.values()))
    assert {"table", "fact", "reason", "source", "looked_up", "ends"} <= due["due"][0].keys()


def test_the_command_succeeds_when_nothing_is_due() -> None:
    """On the earliest day on which a fact was looked up."""
    first_look = min(row.looked_up for rows in TABLES.values() for row in rows.values())
    told = run("--today", first_look.isoformat())
    assert (told.returncode, told.stderr) == (0, "")
    assert f"{sum(map(len, TABLES.values()))} dated facts, 0 due" in told.stdout


def test_a_day_that_is_none_is_refused() -> None:
    """The error shows the usage."""
    told = run("--today", "tomorrow")
    assert told.returncode == 2
    assert "YYYY-MM-DD" in told.stderr
