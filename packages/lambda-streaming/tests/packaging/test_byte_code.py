"""Which interpreter compiles a package, and that its output is deterministic."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lambda_streaming.packaging.byte_code import compile_all, interpreter_for
from lambda_streaming.packaging.target import Cpu, Target, this_machine


def put_program(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_running_python_compiles_for_its_own_version() -> None:
    """Even if other interpreters of that version are installed."""
    assert interpreter_for(this_machine()) == sys.executable


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            "echo 'python3.99: command not found' >&2; exit 127", id="of a version manager, for none"
        ),
        pytest.param(f'exec "{sys.executable}" "$@"', id="of another version"),
        pytest.param("printf '3.99\\n/usr/bin/python3.99\\n'; exit 1", id="that fails"),
    ],
)
def test_a_program_that_is_only_named_like_the_python_is_passed_over(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no byte code then, but the package is still built."""
    put_program(tmp_path, "python3.99", script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert interpreter_for(Target("3.99", Cpu.ARM64)) is None


def test_the_same_sources_are_the_same_byte_code(tmp_path: Path) -> None:
    """Each interpreter orders sets by its own hash seed, and no folder name is in the files."""
    written: set[bytes] = set()
    for name in ("here", "there", "elsewhere"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "greek.py").write_text('def f(x):\n    return x in {"alpha", "beta", "gamma", "delta"}\n')
        compile_all(folder, sys.executable, place="/var/task")
        (byte_code,) = folder.rglob("*.pyc")
        written.add(byte_code.read_bytes())
    (only,) = written
    assert b"/var/task/greek.py" in only
