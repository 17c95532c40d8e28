"""The npm package as `npm pack` makes it, in folders with the packages that its users have."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.patience import PATIENCE_S
from support.places import CACHE, CLIENT

PACKAGE = CLIENT.parent
FRONT_ENDS = PACKAGE / "tests" / "front_ends"
MODULES = CACHE / "front-ends" / "node_modules"


def node() -> str:
    """The path of Node.js; skips the test if it or what the front ends need is missing."""
    found = shutil.which("node")
    if found is None or shutil.which("npm") is None:
        pytest.skip("needs Node.js with npm")
    if not (CACHE / "front-ends" / "installed.json").exists():
        pytest.skip("needs packages/coachstream-js/tests/front_ends/install.sh to have been run")
    return found


def pack(folder: Path) -> Path:
    """Pack the package into a folder and return the tarball."""
    npm = shutil.which("npm") or "npm"
    command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    run(command, PACKAGE)
    (tarball,) = folder.glob("*.tgz")
    return tarball


def unpack(tarball: Path, folder: Path) -> None:
    """Make a `node_modules` with the package's own files, and links to the packages of the front ends."""
    modules = folder / "node_modules"
    modules.mkdir()
    for found in MODULES.iterdir():
        if not found.name.startswith("."):
            (modules / found.name).symlink_to(found)
    with tarfile.open(tarball) as archive:
        archive.extractall(modules, filter="data")
    (modules / "package").rename(modules / "coachstream")


def install(tarball: Path, app: Path) -> None:
    """Install the package into an app with `npm install`, next to what its lock file pins; works offline."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FRONT_ENDS / name, app)
    linked = shutil.ignore_patterns(".bin")  # programs are called by their paths
    shutil.copytree(MODULES, app / "node_modules", ignore=linked, copy_function=_link)
    options = ("--offline", "--no-audit", "--no-fund", "--ignore-scripts")
    run([shutil.which("npm") or "npm", "install", *options, str(tarball)], app)


def run(command: list[str], folder: Path, *, environment: dict[str, str] | None = None) -> str:
    """Run a command to its end, and return what it printed.

    Raises:
        AssertionError: it failed; the message is its output.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _link(source: str, target: str) -> None:
    """Link a file, which is faster than a copy; another file system gets a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
