"""A Runtime API scripted by the test, and the file that the runtime process logs to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.scripted_runtime_api import ScriptedRuntimeApi, scripted_runtime_api


@pytest.fixture
def api() -> Iterator[ScriptedRuntimeApi]:
    """A Runtime API for one test."""
    with scripted_runtime_api() as served:
        yield served


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The file that receives the runtime process's output."""
    return tmp_path / "runtime.log"
