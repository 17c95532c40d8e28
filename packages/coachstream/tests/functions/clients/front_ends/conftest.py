"""One program for all tests, and the conversation that its front ends have."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from coachstream.conversation.model import ConversationKey
from coachstream.services import Services
from support.doubles import ScriptedModel
from support.front_end_conversation import KEY, make_quick, served
from support.front_end_programs import FrontEnd, front_end


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    """The program outlives a single test, and so must its event loop."""
    return "asyncio"


@pytest.fixture(scope="package")
async def chats() -> AsyncIterator[FrontEnd]:
    """One program for all tests; each opens chats of its own."""
    async with front_end() as running:
        yield running


@pytest.fixture
def services(services: Services, model: ScriptedModel, conversation: ConversationKey) -> Services:
    """Services that commit at once, poll quickly, and whose model says `REPLY`."""
    assert conversation == KEY
    return make_quick(services, model)


@pytest.fixture
async def url(services: Services) -> AsyncIterator[str]:
    """Where the conversation is served."""
    async with served(services) as at:
        yield at
