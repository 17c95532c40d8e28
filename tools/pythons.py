"""Run the suite on every Python that is installed: `make test-pythons [PYTHONS="3.12 3.13"] [ARGS="..."]`.

Each minor version gets a virtual environment of its own below `.venv/pythons`, with what
`requirements/dev.lock` pins. `PYTHONS=others` leaves out that of `.venv`, which `make test` uses.

The tests marked `peer` are slow and about other programs, so they run on one interpreter only, that of
`.venv`; those of the Lambda package among them run on the newest one, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "packages" / "lambda-streaming", ROOT / "packages" / "coachstream")
LOCK = ROOT / "requirements" / "dev.lock"
#: The exit status of pytest when every test was deselected.
NO_TESTS = 5
EXIT_NO_INTERPRETER = 2
OTHERS = "others"

_DESCRIBE = (
    "import json, sys, sysconfig;"
    "print(json.dumps([sys.version_info[:3], sys.implementation.name, sys.base_prefix, sys.version_info[3],"
    "bool(sysconfig.get_config_var('Py_GIL_DISABLED'))]))"
)


@dataclass(frozen=True)
class Interpreter:
    """A working CPython."""

    program: Path
    version: tuple[int, ...]

    @property
    def minor(self) -> str:
        """Its minor version, for example `3.12`."""
        return ".".join(map(str, self.version[:2]))


def installed_interpreters(oldest: tuple[int, ...]) -> dict[str, Interpreter]:
    """The newest final release of each minor version on the PATH and below pyenv, oldest first."""
    newest: dict[str, Interpreter] = {}
    for program in dict.fromkeys(_candidates()):
        found = _described(program)
        if found is None or found.version < oldest:
            continue
        known = newest.get(found.minor)
        if known is None or known.version < found.version:
            newest[found.minor] = found
    return dict(sorted(newest.items(), key=lambda each: each[1].version))


def _candidates() -> Iterator[Path]:
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders += (root / "versions").glob("*/bin")
    for folder in folders:
        yield from sorted(
            path for path in folder.glob("python3.*") if path.name.removeprefix("python3.").isdigit()
        )


def _described(program: Path) -> Interpreter | None:
    """The interpreter that the program starts; None unless it is a final release of CPython with a GIL."""
    try:
        done = subprocess.run(  # noqa: S603 (found on the PATH, to be run)
            [program, "-I", "-c", _DESCRIBE], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None  # a pyenv shim for a version that is not selected
    version, implementation, prefix, level, free_threaded = json.loads(done.stdout)
    if implementation != "cpython" or level != "final" or free_threaded:
        return None
    real = Path(prefix) / "bin" / program.name
    return Interpreter(real if real.exists() else program, tuple(version))


def prepare(interpreter: Interpreter, environments: Path) -> Path:
    """Create its environment, unless it exists and is up to date, and return the environment's Python."""
    folder = environments / interpreter.minor
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    wanted = _state(interpreter)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    sys.stderr.write(f"Making {folder} ...\n")
    uv = [sys.executable, "-m", "uv"]
    install = [*uv, "pip", "install", "--quiet", "--python", str(python)]
    editable = [word for package in PACKAGES for word in ("--editable", str(package))]
    for command in (
        [*uv, "venv", "--quiet", "--seed", "--clear", "--python", str(interpreter.program), str(folder)],
        [*install, "--compile-bytecode", "--require-hashes", "--requirement", str(LOCK)],
        [*install, "--no-deps", "--no-build-isolation", *editable],
    ):
        subprocess.run(command, check=True)  # noqa: S603 (ours)
    stamp.write_text(wanted)
    return python


def _state(interpreter: Interpreter) -> str:
    files = [LOCK, *(package / "pyproject.toml" for package in PACKAGES)]
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    return f"{interpreter.program} {interpreter.version} {digest}\n"


def oldest_version() -> tuple[int, ...]:
    """The oldest Python that a package allows."""
    projects = (tomllib.loads((package / "pyproject.toml").read_text())["project"] for package in PACKAGES)
    return min(
        tuple(map(int, project["requires-python"].removeprefix(">=").split("."))) for project in projects
    )


def selection(minor: str, *, own: str, newest: str) -> list[str]:
    """The pytest arguments that select the tests to run on an interpreter."""
    if minor == own:
        return []
    return ["-m", "not peer or lambda_package" if minor == newest else "not peer"]


def main(arguments: Sequence[str]) -> int:
    """Run the tests on each interpreter; return 1 if they fail on any."""
    parser = argparse.ArgumentParser(prog="make test-pythons", description=__doc__)
    parser.add_argument("--only", default="", help="minor versions, separated by spaces, or: others")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest")
    options = parser.parse_args(arguments)
    interpreters = installed_interpreters(oldest_version())
    own = ".".join(map(str, sys.version_info[:2]))
    if options.only == OTHERS:
        wanted = [minor for minor in interpreters if minor != own]
        if not wanted:
            sys.stderr.write(f"There is no supported Python but {own}, which `make test` uses.\n")
            return 0
    else:
        wanted = options.only.split() or list(interpreters)
    missing = [minor for minor in wanted if minor not in interpreters]
    if missing or not wanted:
        sys.stderr.write(
            f"There is no supported Python {' '.join(missing)} on the PATH or below pyenv. "
            f"Found: {' '.join(interpreters) or 'none'}.\n"
        )
        return EXIT_NO_INTERPRETER
    failed = []
    for minor in wanted:
        python = prepare(interpreters[minor], Path(sys.prefix) / "pythons")
        chosen = selection(minor, own=own, newest=list(interpreters)[-1])
        command = [str(python), "-m", "pytest", "-n", "auto", "-p", "no:cacheprovider"]
        began = time.monotonic()
        status = subprocess.run([*command, *chosen, *options.pytest], cwd=ROOT, check=False).returncode  # noqa: S603
        sys.stderr.write(f"Python {minor}: status {status} after {time.monotonic() - began:.0f} s.\n")
        if status not in (0, NO_TESTS):
            failed.append(minor)
    if failed:
        sys.stderr.write(f"Failed on Python {', '.join(failed)}.\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
