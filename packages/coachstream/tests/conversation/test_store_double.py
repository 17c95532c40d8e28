"""The store in memory, on which the turn is tested, keeps the contract of a store."""

from __future__ import annotations

import pytest

from contracts.conversation_store import ConversationStoreContract
from support.doubles import RememberedConversations


class TestRememberedConversations(ConversationStoreContract):
    @pytest.fixture
    def store(self) -> RememberedConversations:
        return RememberedConversations()
