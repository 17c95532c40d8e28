"""Both functions behind real uvicorn servers, with doubles at the ports."""

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

# Else a first request would import it in a thread while a second one blocks the loop on the same import.
load()

SAMS_CONVERSATION = ConversationKey("sam", "mara", "conv1")


@pytest.fixture
def store() -> RememberedConversations:
    """A store that has Sam's coach Mara."""
    return RememberedConversations(("sam", "mara"))


@pytest.fixture
def conversation(store: RememberedConversations) -> ConversationKey:
    """Sam's conversation with Mara, still without messages."""
    began = datetime(2026, 3, 1, tzinfo=UTC)
    store.conversations[SAMS_CONVERSATION] = Conversation(SAMS_CONVERSATION, "Legs", began, began)
    store.messages[SAMS_CONVERSATION] = []
    return SAMS_CONVERSATION


@pytest.fixture
def model() -> ScriptedModel:
    """Replies `Hello, you!` unless a test sets another script."""
    return ScriptedModel()


@pytest.fixture
def services(store: RememberedConversations, model: ScriptedModel) -> Services:
    """Services with doubles in place of the adapters."""
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
