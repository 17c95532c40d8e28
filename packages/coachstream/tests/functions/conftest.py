"""Both functions behind real uvicorns, with doubles at the ports."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from coachstream.conversation.errors import (
    CoachStreamError,
    InvalidToken,
    InvalidTokenFormat,
    MissingCustomUserId,
    TokenExpired,
)
from coachstream.conversation.model import Conversation, ConversationKey, Identity
from coachstream.observability.observed import load
from coachstream.services import Services
from coachstream.settings import Settings
from support.doubles import KnownTokens, RememberedConversations, ScriptedModel

# Or a test's first request would import it in a thread, while its second one waits on the loop for the same.
load()

SAMS_CONVERSATION = ConversationKey("sam", "mara", "conv1")


@pytest.fixture
def store() -> RememberedConversations:
    """Knows Sam's coach Mara."""
    return RememberedConversations(("sam", "mara"))


@pytest.fixture
def conversation(store: RememberedConversations) -> ConversationKey:
    """Sam's conversation with Mara, without a message yet."""
    began = datetime(2026, 3, 1, tzinfo=UTC)
    store.conversations[SAMS_CONVERSATION] = Conversation(SAMS_CONVERSATION, "Legs", began, began)
    store.messages[SAMS_CONVERSATION] = []
    return SAMS_CONVERSATION


@pytest.fixture
def model() -> ScriptedModel:
    """Says `Hello, you!` unless a test writes another script."""
    return ScriptedModel()


@pytest.fixture
def services(store: RememberedConversations, model: ScriptedModel) -> Services:
    """The doubles in the places of the adapters."""
    tokens: dict[str, Identity | CoachStreamError] = {
        "sam": Identity("sam", "sub-1"),
        "kim": Identity("kim", "sub-2"),
        "junk": InvalidTokenFormat(),
        "forged": InvalidToken(),
        "old": TokenExpired(),
        "nobody": MissingCustomUserId(),
    }
    services = Services(Settings.embedded(Path("nowhere")))
    services.store = store
    services.model = model
    services.recall = None
    services.verifier = KnownTokens(tokens)
    return services
