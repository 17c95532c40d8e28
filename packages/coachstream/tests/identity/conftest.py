"""A web server for key sets, for the tests of the Cognito adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.key_server import KeyServer, key_server


@pytest.fixture
async def keys_at() -> AsyncIterator[KeyServer]:
    """A web server whose responses the test scripts."""
    async with key_server() as server:
        yield server
