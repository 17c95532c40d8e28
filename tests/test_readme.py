"""The README's examples run as shown."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
from typer.testing import CliRunner

from coachstream.cli.app import app
from support.patience import PATIENCE_S
from support.places import ROOT
from support.serving import read_line

README = ROOT / "README.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def test_the_function_in_the_readme_streams_by_the_command_in_the_readme(tmp_path: Path) -> None:
    """The example is saved as app.py and started as shown, but on a free port."""
    (example,) = _blocks("python")
    (tmp_path / "app.py").write_text(example)
    shown = next(line for block in _blocks("") for line in block.splitlines() if "emulator --port" in line)
    words = [sys.executable if word == "python" else word for word in shlex.split(shown)]
    words[words.index("--port") + 1] = "0"
    words.insert(words.index("--port"), "--json")
    with subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as emulator:
        try:
            assert emulator.stdout is not None
            response = httpx.get(json.loads(read_line(emulator.stdout, 20))["url"], timeout=PATIENCE_S)
        finally:
            emulator.terminate()
    assert emulator.returncode == 0
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == "Hello, streaming world!\n"


def test_every_make_target_in_the_readme_exists() -> None:
    """Every command shown can be run."""
    makefile = (README.parent / "Makefile").read_text()
    shown = set(re.findall(r"\bmake ([a-z-]+)", README.read_text()))
    assert shown
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in shown)


def test_every_link_in_the_readme_leads_somewhere() -> None:
    """Linked files exist."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text())
    assert all((README.parent / link).exists() for link in links), links


def test_every_option_in_the_readme_is_one_of_its_command() -> None:
    """The shown options of `coachstream`, `make serve` and `make deploy` exist."""
    readme = README.read_text()
    shown = re.findall(r"\.venv/bin/coachstream ([a-z]+(?: create)?)([^\n`#]*)", readme)
    shown += re.findall(r'make (serve|deploy) ARGS="([^"]*)"', readme)
    assert {command for command, _ in shown} >= {"serve", "chat", "token", "check", "deploy", "table create"}
    for command, arguments in shown:
        known = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"}).stdout
        for option in re.findall(r"--[a-z-]+", arguments):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", known), f"coachstream {command} {option}"
