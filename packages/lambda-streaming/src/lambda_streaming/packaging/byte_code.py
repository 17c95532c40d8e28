"""Precompiled byte code for the target's Python.

On Lambda the package is read-only, so without byte code in it each cold start compiles all modules that it
imports, which takes half a second or more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from lambda_streaming.packaging.errors import PackageError
from lambda_streaming.packaging.installation import uv_program
from lambda_streaming.packaging.target import Target


class ByteCode(StrEnum):
    """Whether a zip file has byte code."""

    AUTO = "auto"
    """If a Python of the target's version is installed on this machine."""
    ALWAYS = "always"
    NEVER = "never"


#: Prints the version and real path of an interpreter whose byte code a managed runtime loads: no pre-release.
_WHAT_IT_IS = """
import platform, sys, sysconfig
is_stock = platform.python_implementation() == "CPython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
if is_stock and sys.version_info.releaselevel == "final":
    print("%d.%d" % sys.version_info[:2], sys.executable, sep="\\n")
"""

_COMPILE = """
import compileall, py_compile, sys
ok = compileall.compile_dir(
    sys.argv[1], quiet=1, workers=1, stripdir=sys.argv[1], prependdir=sys.argv[2],
    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
)
sys.exit(not ok)
"""


def interpreter_for(target: Target) -> str | None:
    """Return a Python of the target's version on this machine, which is needed to compile; or None."""
    return next(filter(None, (_proven(program, target) for program in _candidates(target))), None)


def interpreter_as_asked(target: Target, byte_code: ByteCode) -> str | None:
    """Return the interpreter that compiles for the target; None if there is to be no byte code.

    Raises:
        PackageError: byte code is demanded, and there is none on this machine.
    """
    interpreter = None if byte_code is ByteCode.NEVER else interpreter_for(target)
    if interpreter is None and byte_code is ByteCode.ALWAYS:
        raise PackageError(
            f"Byte code needs Python {target.python} on this machine: uv python install {target.python}"
        )
    return interpreter


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
    """Return the interpreter behind a program's name; None if it is only a version manager's shim."""
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


def compile_all(folder: Path, interpreter: str, *, place: str) -> None:
    """Compile every module of a folder, for its place on Lambda.

    The byte code is not validated against its source on import (PEP 552, unchecked hashes), and contains the
    source's path on Lambda, so that it is reproducible on every machine.

    Raises:
        PackageError: a module cannot be compiled.
    """
    # For reproducible output: a fixed hash seed and no other variables. `-I` would ignore the seed as well.
    environment = {"PYTHONHASHSEED": "0"}
    run = subprocess.run(  # noqa: S603 (found by name)
        [interpreter, "-s", "-P", "-c", _COMPILE, str(folder), place],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise PackageError(
            f"{interpreter} could not compile the package:\n{(run.stdout + run.stderr).strip()}"
        )
