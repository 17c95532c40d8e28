"""A Runtime API that the test plays, and where the runtime process writes its log."""

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
    """Where the runtime process prints."""
    return tmp_path / "runtime.log"
