"""The domain does no I/O, so its tests run on virtual time."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from support.virtual_time import VIRTUAL_TIME


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, object]]:
    """Deadlines, leases and pauses elapse without real waiting."""
    return VIRTUAL_TIME
