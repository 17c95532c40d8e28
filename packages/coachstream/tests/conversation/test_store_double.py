"""The in-memory store that the turn tests use meets the store contract."""

from __future__ import annotations

import pytest

from contracts.conversation_store import ConversationStoreContract
from support.doubles import RememberedConversations


class TestRememberedConversations(ConversationStoreContract):
    @pytest.fixture
    def store(self) -> RememberedConversations:
        return RememberedConversations()
