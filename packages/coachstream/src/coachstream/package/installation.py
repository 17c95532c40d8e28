"""The dependencies, installed by uv for another machine than this."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from coachstream.package.errors import PackageError
from coachstream.package.target import Target

LOCK = Path(__file__).with_name("lambda.lock")
"""Every dependency with its hashes; `make lock` writes it."""

_NOT_REACHED = (
    "\nThe package index was not reached. uv takes another one from UV_DEFAULT_INDEX or its uv.toml, "
    "not from pip's settings."
)


def uv_program() -> str:
    """The uv to run: the one that pip installed beside us, or else the one on the PATH.

    Raises:
        PackageError: there is none.
    """
    if find_spec("uv") is not None:
        from uv import find_uv_bin

        try:
            return find_uv_bin()
        except FileNotFoundError:
            pass  # installed elsewhere, or half
    if found := shutil.which("uv"):
        return found
    raise PackageError("uv is not installed, which gets the dependencies: pip install 'coachstream[deploy]'")


def install(target: Target, folder: Path) -> Mapping[str, str]:
    """Install what the lock names into a folder, from wheels for the target alone, each checked by its hash.

    Returns:
        For each file, as its path in the folder, the distribution it came with.

    Raises:
        PackageError: uv cannot; its own words are in the message.
    """
    command = [
        *(uv_program(), "pip", "install", "--quiet", "--target", str(folder)),
        *("--python-version", target.python, "--python-platform", target.platform, "--only-binary", ":all:"),
        # Nothing writes to the files, so they may be those of uv's cache; where they cannot, uv copies them.
        *("--require-hashes", "--no-deps", "--no-compile-bytecode", "--link-mode", "hardlink"),
        *("--requirement", str(LOCK)),
    ]
    # uv's own choice of a virtual environment is of no use here.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    run = subprocess.run(  # noqa: S603 (ours)
        command,
        # The user's settings count, which may name a mirror; those of the project that one stands in do not.
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
    """Which file came with what, by the `RECORD` of each (Core metadata: "Recording installed projects")."""
    import csv

    origins: dict[str, str] = {}
    for record in folder.glob("*.dist-info/RECORD"):
        name = record.parent.name.partition("-")[0].replace("_", "-").lower()
        with record.open(newline="") as lines:
            origins.update((row[0], name) for row in csv.reader(lines) if row)
    return origins
