"""The README's examples run as they are shown."""

from __future__ import annotations

import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from lambda_streaming.layer.build import EXEC_WRAPPER
from support.emulating import emulating
from support.patience import PATIENCE_S
from support.places import LAMBDA_STREAMING

README = (LAMBDA_STREAMING / "README.md").read_text()
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Each example and the command that serves it: a block of Python, and the next block.
EXAMPLES = [
    (code, next(line for line in commands.splitlines() if "lambda_streaming.emulator" in line))
    for (language, code), (_, commands) in pairwise(_BLOCK.findall(README))
    if language == "python" and "lambda_streaming.emulator" in commands
]


@pytest.mark.parametrize(("code", "command"), EXAMPLES, ids=["app", "function", "generator"])
def test_an_example_streams_when_it_is_started_as_shown(code: str, command: str, tmp_path: Path) -> None:
    """Saved under the name that the command has."""
    *_, name = command.split()
    (tmp_path / f"{name.partition('.')[0]}.py").write_text(code)
    assert f"ave this as `{name.partition('.')[0]}.py`" in README
    _, _, function = command.partition(" -- ")
    patient = ("--init-timeout", str(PATIENCE_S), "--timeout", str(PATIENCE_S))
    started = [sys.executable if word == "python" else word for word in shlex.split(function)]
    with emulating(tmp_path, *patient, "--", *started) as emulator:
        response = httpx.get(emulator.url, timeout=PATIENCE_S)
    assert response.text == "Hello, streaming world!\n"
    assert response.headers["content-type"].startswith("text/plain")


def test_the_readme_names_the_variable_of_each_way_to_install() -> None:
    """In the function's package, and in a layer."""
    assert "`/var/task/lambda_streaming/exec-wrapper`" in README
    assert f"`{EXEC_WRAPPER}`" in README


def test_the_comparison_has_a_value_in_every_cell() -> None:
    """Each row says something of each of the five."""
    table = re.search(r"(^\|.*\|\n)+", README.partition("## Compared with")[2], re.MULTILINE)
    assert table
    rows = table[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert len(rows) > 8
    assert {len(row) for row in cells} == {6}
    assert all(all(row[1:]) for row in cells)
