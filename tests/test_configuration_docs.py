"""docs/reference/settings.md matches the settings in the code."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from coachstream.settings import VARIABLES, Settings
from coachstream.settings.docs import EXAMPLES, document
from coachstream.settings.variables import READ_BY_OTHERS, Part


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
