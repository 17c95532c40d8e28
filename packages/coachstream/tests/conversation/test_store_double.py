"""The in-memory store that the turn tests use meets the store contract."""

from __future__ import annotations

import pytest

from contracts.another_try import AnotherTryContract
from contracts.conversation_store import ConversationStoreContract
from support.doubles import RememberedConversations


class TestRememberedConversations(ConversationStoreContract, AnotherTryContract):
    @pytest.fixture
    def store(self) -> RememberedConversations:
        return RememberedConversations()
