"""A small campaign, so that the large one, which is run rarely, keeps working."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.histories import missing_for_checker
from support.patience import PATIENCE_S
from torture.clients import Client, Progress, Shown
from torture.model import name_of, question, reply_to
from torture.tally import Tally, table


@pytest.mark.timeout(3 * PATIENCE_S)
def test_a_small_campaign_loses_doubles_and_changes_nothing() -> None:
    """It runs every part but DynamoDB's, with a few faults."""
    small = ["--seed", "11", "--messages", "2", "--faults", "4", "--interrupts", "1", "--without-dynamodb"]
    small += ["--histories", "0" if missing_for_checker() else "1"]
    ended = subprocess.run(
        [sys.executable, "-m", "torture", *small],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * PATIENCE_S,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = [
        line.split("  ")
        for line in ended.stdout.splitlines()
        if line.startswith(("SQLite  ", "interrupts, "))
    ]
    assert [row[0].strip() for row in rows[-3:]] == [
        "SQLite",
        "interrupts, in process",
        "interrupts, environments",
    ]


NAME = name_of(0, 0)
ASKED = {"id": "msg_1", "role": "user", "content": question(NAME), "metadata": {}}
ANSWERED = {
    "id": "msg_2",
    "role": "assistant",
    "content": reply_to(NAME),
    "metadata": {"replyTo": "msg_1"},
}


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ([ASKED, ANSWERED], None),
        ([], "lost"),
        ([ASKED], "lost"),
        ([ASKED, {**ASKED, "id": "msg_1b"}, ANSWERED], "duplicated"),
        ([ASKED, ANSWERED, {**ANSWERED, "id": "msg_3"}], "duplicated"),
        ([ASKED, {**ANSWERED, "content": reply_to(NAME)[:-1]}], "differs"),
        ([{**ASKED, "id": "msg_9"}, {**ANSWERED, "metadata": {"replyTo": "msg_9"}}], "differs"),
    ],
)
def test_every_kind_of_problem_is_counted(stored: list[dict[str, object]], problem: str | None) -> None:
    """A campaign that could not fail would prove nothing."""
    tally = Tally("SQLite", messages=1)
    client = Client(0, "conv-1", None, "", tally, Progress(), replies={NAME: reply_to(NAME)})  # type: ignore[arg-type] # no server is asked
    client.compare(stored)
    assert tally.is_clean is (problem is None)
    assert [kind for kind, problems in tally.problems.items() if problems] == ([problem] if problem else [])
    assert "SQLite" in table([tally]).splitlines()[1]


def test_a_gap_in_a_reply_is_noticed() -> None:
    """Chunks carry their offset; repeated text is shown once, missing text is an error."""
    shown = Shown()
    for event in ({"type": "start"}, {"type": "chunk", "content": "one two", "offset": 0}):
        shown.take(event)
    shown.take({"type": "chunk", "content": "two three", "offset": 4})
    assert shown.text == "one two three"
    with pytest.raises(AssertionError, match="gap"):
        shown.take({"type": "chunk", "content": "five", "offset": 40})
