from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coachstream.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=cwd,
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_the_commands(tmp_path: Path, arguments: list[str]) -> None:
    """Whoever types the name alone learns how to go on."""
    shown = run(*arguments, cwd=tmp_path).stdout
    assert all(command in shown for command in ("serve", "chat", "token"))


@pytest.mark.parametrize("name", ["serve", "chat", "token"])
def test_each_command_explains_itself(tmp_path: Path, name: str) -> None:
    """Help needs no server and leaves nothing behind."""
    helped = run(name, "--help", cwd=tmp_path)
    assert helped.returncode == 0
    assert "--data" in helped.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    """`--version` prints one line."""
    assert run("--version", cwd=tmp_path).stdout == f"coachstream {version('coachstream')}\n"


def test_chat_without_a_server_says_how_to_start_one(tmp_path: Path) -> None:
    """Exit status 1 and a sentence, no traceback."""
    refused = run("chat", cwd=tmp_path)
    assert refused.returncode == 1
    assert "`coachstream serve`" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_chat_with_a_wrong_address_says_so(tmp_path: Path) -> None:
    """Nobody listens on port 1."""
    refused = run("chat", "--url", "http://127.0.0.1:1/", "-m", "Hi", cwd=tmp_path)
    assert refused.returncode == 1
    assert "Nothing answers at http://127.0.0.1:1/" in refused.stderr


def test_a_token_needs_no_server(tmp_path: Path) -> None:
    """The first token makes the issuer's key, later ones use it."""
    first, second = (run("token", "--data", "data", "--hours", "1", cwd=tmp_path) for _ in range(2))
    assert first.stdout.count(".") == second.stdout.count(".") == 2
    assert first.stdout.split(".")[0] == second.stdout.split(".")[0]
