"""Byte code for the target's Python.

On Lambda nobody can write into the package, so without byte code in it each cold start compiles all that it
imports, which takes half a second and more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from coachstream.package.errors import PackageError
from coachstream.package.installation import uv_program
from coachstream.package.target import Target

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
    if target.is_this_interpreter:
        return sys.executable
    if found := shutil.which(f"python{target.python}"):
        return found
    asked = subprocess.run(  # noqa: S603 (ours)
        [uv_program(), "python", "find", "--no-project", "--no-python-downloads", target.python],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or None if asked.returncode == 0 else None


def compile_all(folder: Path, interpreter: str) -> None:
    """Put byte code beside every module of a folder.

    It is not checked against the source when it is loaded (PEP 552, unchecked hashes), and names the place of
    the source on Lambda, so that it is the same wherever it was compiled.

    Raises:
        PackageError: a module cannot be compiled.
    """
    # The order of a frozenset's literals would be in the byte code otherwise.
    environment = {"PYTHONHASHSEED": "0"}
    run = subprocess.run(  # noqa: S603 (found by name)
        [interpreter, "-I", "-c", _COMPILE, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise PackageError(
            f"{interpreter} could not compile the package:\n{(run.stdout + run.stderr).strip()}"
        )
