"""Which interpreters `make test-pythons` finds, and what it says when there is none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pythons import installed_interpreters, main, oldest_version, selection


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only one on the PATH; pyenv's folder is empty."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return folder


def add(
    folder: Path,
    version: tuple[int, int, int],
    *,
    implementation: str = "cpython",
    level: str = "final",
    free_threaded: bool = False,
) -> Path:
    """Add a program that describes itself as that Python."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"python3.{version[1]}"
    said = json.dumps([version, implementation, "/nowhere", level, free_threaded])
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    return program


def test_the_newest_release_of_each_minor_version_is_found_on_the_path_and_below_pyenv(
    programs: Path, tmp_path: Path
) -> None:
    """They are sorted by version, not by name."""
    add(programs, (3, 12, 1))
    newer = add(tmp_path / "pyenv" / "versions" / "3.12.9" / "bin", (3, 12, 9))
    older = add(programs, (3, 9, 2))
    found = installed_interpreters((3, 9))
    assert {minor: each.program for minor, each in found.items()} == {"3.9": older, "3.12": newer}
    assert list(found) == ["3.9", "3.12"]


def test_unsupported_pythons_are_skipped(programs: Path) -> None:
    """They are too old, a release candidate, free-threaded, not CPython, a failing shim or a plain script."""
    add(programs, (3, 10, 4))
    add(programs, (3, 15, 0), level="candidate")
    add(programs, (3, 14, 0), free_threaded=True)
    add(programs, (3, 11, 3), implementation="pypy")
    shim = programs / "python3.12"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    (programs / "python3.13-config").symlink_to(sys.executable)
    assert installed_interpreters(oldest_version()) == {}


def test_a_version_that_is_not_installed_is_reported_in_one_sentence(
    programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message lists the installed versions; the exit status is 2."""
    add(programs, (3, 12, 1))
    assert main(["--only", "3.12 3.13", "--", "-x"]) == 2
    assert capsys.readouterr().err == (
        "There is no supported Python 3.13 on the PATH or below pyenv. Found: 3.12.\n"
    )


def test_without_another_python_there_is_nothing_to_do(
    programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Python of `make test` is not run again."""
    add(programs, (sys.version_info[0], sys.version_info[1], sys.version_info[2]))
    assert main(["--only", "others"]) == 0
    assert capsys.readouterr().err == (
        f"There is no supported Python but 3.{sys.version_info[1]}, which `make test` uses.\n"
    )


def test_the_lambda_package_is_tested_on_the_newest_python_too() -> None:
    """Other slow tests run on one Python only."""
    chosen = {minor: selection(minor, own="3.11", newest="3.13") for minor in ("3.11", "3.12", "3.13")}
    assert chosen == {"3.11": [], "3.12": ["-m", "not peer"], "3.13": ["-m", "not peer or lambda_package"]}
