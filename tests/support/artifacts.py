"""The packages as they are published, built once for all tests, and environments with them installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from release.build import build
from support.patience import PATIENCE_S
from support.places import ROOT

UV = (sys.executable, "-m", "uv")


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder that `make dist` fills."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "dist"
    shared.mkdir(exist_ok=True)
    with FileLock(shared / ".lock"):
        if not (shared / ".built").exists():
            build(ROOT, shared)
            (shared / ".built").touch()
    return shared


def wheel(dist: Path, module: str) -> Path:
    """The wheel of a package."""
    (found,) = dist.glob(f"{module}-*.whl")
    return found


def from_dist(dist: Path) -> list[str]:
    """The uv options that take our packages from `dist`, and all others in the versions of the lock file.

    Ours are not taken from uv's cache, where a folder of the same name in an earlier run may have left them.
    """
    ours = [f"--refresh-package={name}" for name in ("coachstream", "lambda-streaming")]
    return [*ours, "--find-links", str(dist), "--constraints", str(ROOT / "requirements" / "run.lock")]


def install(folder: Path, dist: Path, *requirements: str) -> Path:
    """Make a virtual environment, install requirements into it, and return its folder of programs."""
    _uv("venv", "--python", sys.executable, str(folder))
    _uv("pip", "install", "--python", str(folder / "bin" / "python"), *from_dist(dist), *requirements)
    return folder / "bin"


def _uv(*arguments: str) -> None:
    done = subprocess.run([*UV, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if "error sending request" in done.stderr or "Could not connect" in done.stderr:
        pytest.skip("needs the package index, which cannot be reached")
    assert done.returncode == 0, done.stderr
