"""Installs the dependencies with uv, for another machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lambda_streaming.packaging.errors import PackageError
from lambda_streaming.packaging.target import Target

_NOT_REACHED = (
    "\nThe package index cannot be reached. uv reads a different index from UV_DEFAULT_INDEX or its uv.toml, "
    "not from pip's configuration."
)


@cache
def uv_program() -> str:
    """Return the path of uv: the one installed in this environment, or else the one on the PATH.

    Raises:
        PackageError: uv is not installed.
    """
    if find_spec("uv") is not None:
        from uv import find_uv_bin

        try:
            return find_uv_bin()
        except FileNotFoundError:
            pass  # installed elsewhere, or incompletely
    if found := shutil.which("uv"):
        return found
    raise PackageError("uv, which installs the dependencies, is missing: pip install uv")


def install(lock: Path, target: Target, folder: Path) -> Mapping[str, str]:
    """Install the locked dependencies into a folder, from wheels for the target only, verified by hash.

    Args:
        lock: a requirements file that pins every dependency, with its hashes.
        target: the Python and CPU to install for.
        folder: the folder to install into; its parent exists.

    Returns:
        For each file, by its path in the folder, the distribution that it belongs to.

    Raises:
        PackageError: uv failed; the message includes its output.
    """
    command = [
        *(uv_program(), "pip", "install", "--quiet", "--target", str(folder)),
        *("--python-version", target.python, "--python-platform", target.platform, "--only-binary", ":all:"),
        # The files are never modified, so they can be hard links into uv's cache; otherwise uv copies them.
        *("--require-hashes", "--no-deps", "--no-compile-bytecode", "--link-mode", "hardlink"),
        *("--requirement", str(lock)),
    ]
    # The active virtual environment is irrelevant here.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    run = subprocess.run(  # noqa: S603 (ours)
        command,
        # Respects the user's settings, such as a mirror, but not those of the project in the current folder.
        cwd=folder.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        said = run.stderr.strip()
        hint = _NOT_REACHED if "error sending request" in said else ""
        raise PackageError(f"uv could not install the dependencies for {target}:\n{said}{hint}")
    return _origins(folder)


def _origins(folder: Path) -> Mapping[str, str]:
    """Map files to distributions by their `RECORD`s (Core metadata: "Recording installed projects")."""
    import csv

    origins: dict[str, str] = {}
    for record in folder.glob("*.dist-info/RECORD"):
        name = record.parent.name.partition("-")[0].replace("_", "-").lower()
        with record.open(newline="") as lines:
            origins.update((row[0], name) for row in csv.reader(lines) if row)
    return origins
