"""The stack in all its variants, synthesized once for all test processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from filelock import FileLock

from support.patience import PATIENCE_S
from support.templates import QUIET, Template

VARIANTS = Path(__file__).with_name("variants.py")


@pytest.fixture(scope="session")
def node() -> None:
    """Require Node.js, which CDK's kernel runs on."""
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")


@pytest.fixture(scope="session")
def templates(
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
    node: None,  # noqa: ARG001 (must be there)
) -> Mapping[str, Template]:
    """The templates by the variants' names (`variants.py`)."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    found = shared / "templates.json"
    with FileLock(shared / "templates.lock"):
        if not found.exists():
            found.write_text(_synthesized(shared))
    return {name: Template(template) for name, template in json.loads(found.read_text()).items()}


def _synthesized(folder: Path) -> str:
    run = subprocess.run(
        [sys.executable, str(VARIANTS)],
        cwd=folder,
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="session")
def template_of(templates: Mapping[str, Template]) -> Callable[[str], Template]:
    """The template of a variant."""
    return templates.__getitem__
