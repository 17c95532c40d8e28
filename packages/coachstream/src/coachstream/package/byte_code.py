"""Byte code for the target's Python.

On Lambda nobody can write into the package, so without byte code in it each cold start compiles all that it
imports, which takes half a second and more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from coachstream.package.errors import PackageError
from coachstream.package.installation import uv_program
from coachstream.package.target import Target

#: Of an interpreter whose byte code a managed runtime loads: its real path. Pre-releases write another.
_WHAT_IT_IS = """
import platform, sys, sysconfig
is_stock = platform.python_implementation() == "CPython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
if is_stock and sys.version_info.releaselevel == "final":
    print("%d.%d" % sys.version_info[:2], sys.executable, sep="\\n")
"""

_COMPILE = """
import compileall, py_compile, sys
ok = compileall.compile_dir(
    sys.argv[1], quiet=1, workers=1, stripdir=sys.argv[1], prependdir="/var/task",
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
)
sys.exit(not ok)
"""


def interpreter_for(target: Target) -> str | None:
    """A Python of the target's version on this machine, which alone writes its byte code; or None."""
    return next(filter(None, (_proven(program, target) for program in _candidates(target))), None)


def _candidates(target: Target) -> Iterator[str]:
    if target.is_this_interpreter:
        yield sys.executable
    if found := shutil.which(f"python{target.python}"):
        yield found
    asked = subprocess.run(  # noqa: S603 (ours)
        [uv_program(), "python", "find", "--no-project", "--no-python-downloads", target.python],
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == 0:
        yield asked.stdout.strip()


def _proven(program: str, target: Target) -> str | None:
    """The interpreter behind a program's name, which may be a version manager's stand-in for none."""
    try:
        run = subprocess.run(  # noqa: S603 (found by name)
            [program, "-I", "-c", _WHAT_IT_IS], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    match run.stdout.splitlines():
        case [python, interpreter] if run.returncode == 0 and python == target.python:
            return interpreter
    return None


def compile_all(folder: Path, interpreter: str) -> None:
    """Put byte code beside every module of a folder.

    It is not checked against the source when it is loaded (PEP 552, unchecked hashes), and names the place of
    the source on Lambda, so that it is the same wherever it was compiled.

    Raises:
        PackageError: a module cannot be compiled.
    """
    # Nothing random, and nothing of this environment; `-I` would leave the seed out as well.
    environment = {"PYTHONHASHSEED": "0"}
    run = subprocess.run(  # noqa: S603 (found by name)
        [interpreter, "-s", "-P", "-c", _COMPILE, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise PackageError(
            f"{interpreter} could not compile the package:\n{(run.stdout + run.stderr).strip()}"
        )
