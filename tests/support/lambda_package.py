"""A package for this machine, built once for the tests of all processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from support.patience import PATIENCE_S


@pytest.fixture(scope="session")
def lambda_package(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The zip built by `coachstream package --here`; the folder `task` next to it is the zip, unzipped.

    Two builds run concurrently, with different umasks and from different folders; `said_of` has their output.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "lambda-package"
    shared.mkdir(exist_ok=True)
    package = shared / "made" / "coachstream.zip"
    with FileLock(shared / "lock"):
        if not (shared / "said").exists():
            package.parent.mkdir()
            (shared / "elsewhere").mkdir()
            with ThreadPoolExecutor(2) as builders:
                task = package.with_name("task")
                one = builders.submit(
                    run_package, "--here", "--output", str(package), "--unpacked", str(task)
                )
                another = builders.submit(
                    run_package,
                    *("--here", "--output", "../made/coachstream.zip"),
                    cwd=shared / "elsewhere",
                    umask=0o077,
                )
            (shared / "said").write_text(json.dumps([one.result(), another.result()]))
    return package


def said_of(package: Path) -> list[str]:
    """The output of each `coachstream package`."""
    said: list[str] = json.loads((package.parents[1] / "said").read_text())
    return said


def run_package(*arguments: str, cwd: Path | None = None, umask: int = 0o022) -> str:
    """Run `coachstream package`, and return its output."""
    run = subprocess.run(
        [sys.executable, "-m", "coachstream.cli", "package", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        umask=umask,
    )
    if "error sending request" in run.stderr or "Could not connect" in run.stderr:
        pytest.skip("needs the package index, which cannot be reached")
    assert run.returncode == 0, run.stderr
    return run.stdout
