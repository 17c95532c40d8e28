"""The oldest versions that pyproject.toml allows are safe and tested."""

from __future__ import annotations

import re
import tomllib

import pytest

from coachstream.check.security_floors import OLDEST_PYTHON, SECURITY_FLOORS
from support.places import ROOT

PROJECTS = {
    name: tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]
    for name in ("lambda-streaming", "coachstream")
}
LOCK = (ROOT / "requirements" / "lower-bounds.lock").read_text()
TESTED_EXTRAS = ("emulator", "aws", "pinecone")


def lower_bounds() -> dict[str, str]:
    """The oldest allowed release of each library in a pyproject.toml."""
    named: list[str] = []
    for project in PROJECTS.values():
        named += (each for each in project["dependencies"] if not each.startswith(tuple(PROJECTS)))
        for extra in TESTED_EXTRAS:
            named += project["optional-dependencies"].get(extra, ())
    found = [re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z,]+\])?>=([0-9.]+)(?:,<[0-9.]+)?", each) for each in named]
    assert all(found), named
    return {each[1]: each[2] for each in found if each is not None}


@pytest.mark.parametrize("library", SECURITY_FLOORS)
def test_no_release_with_a_known_vulnerability_is_allowed(library: str) -> None:
    """The bound in pyproject.toml equals the one that the table justifies."""
    assert lower_bounds()[library] == SECURITY_FLOORS[library].release


@pytest.mark.parametrize(("library", "oldest"), lower_bounds().items(), ids=lower_bounds())
def test_the_oldest_allowed_release_is_the_one_that_is_tested(library: str, oldest: str) -> None:
    """`make lock` pins it for `make test-lower-bounds`."""
    pinned = re.search(rf"^{library}==([0-9.]+) ", LOCK, re.MULTILINE)
    assert pinned is not None
    assert re.fullmatch(rf"{re.escape(oldest)}(\.0)*", pinned[1])


def test_the_oldest_python_is_one_that_gets_security_fixes() -> None:
    """The table has its end of life."""
    wanted = {project["requires-python"] for project in PROJECTS.values()}
    assert wanted == {f">={OLDEST_PYTHON.release}"}
