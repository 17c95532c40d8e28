"""docs/reference/settings.md matches the settings in the code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from coachstream.infrastructure import drop_in
from coachstream.settings import VARIABLES, Settings
from coachstream.settings.docs import EXAMPLES, document
from coachstream.settings.variables import READ_BY_OTHERS, Part
from support.places import ROOT

PAGE = ROOT / "docs" / "reference" / "settings.md"


def test_the_page_matches_the_settings() -> None:
    """`make docs` regenerates it."""
    assert PAGE.read_text() == document()


def test_the_amplify_function_knows_what_the_settings_say() -> None:
    """`make docs-pages` writes the file again."""
    path = ROOT / "deploy" / "amplify" / "functions" / "stream-coach-conversation" / "settings.json"
    assert path.read_text() == drop_in.document()


def test_the_command_prints_the_page_or_writes_it(tmp_path: Path) -> None:
    """It writes to standard output or to the given file."""
    command = [sys.executable, "-m", "coachstream.settings.docs"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert printed.stdout == document()
    subprocess.run([*command, str(tmp_path / "page.md")], check=True)
    assert (tmp_path / "page.md").read_text() == document()


def test_every_variable_has_one_row_under_its_part() -> None:
    """No variable is missing or listed twice."""
    sections = dict(
        zip(
            [part.value for part in Part],
            re.split(r"^## .*\n", document(), flags=re.MULTILINE)[2:],
            strict=True,
        )
    )
    for variable in (*VARIABLES, *READ_BY_OTHERS):
        assert document().count(f"\n| `{variable.name}` |") == 1
        assert f"| `{variable.name}` |" in sections[variable.scope.part.value]


@pytest.mark.parametrize("environment", EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_are_complete(environment: Mapping[str, str]) -> None:
    """Each can be copied as it is and contains no unused variable."""
    settings = Settings.from_environment(environment)
    assert environment.keys() <= {variable.name for variable in (*VARIABLES, *READ_BY_OTHERS)}
    chosen = (settings.store.kind, settings.model.kind, settings.identity.kind, settings.recall.kind)
    assert chosen == tuple(
        environment[f"COACHSTREAM_{part}"] for part in ("STORE", "MODEL", "IDENTITY", "RECALL")
    )
