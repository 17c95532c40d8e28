"""The DynamoDB store meets the store contract, both on moto and on DynamoDB Local."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from coachstream.storage.dynamodb import DynamoDbStore
from contracts.conversation_store import ConversationStoreContract
from support.dynamodb import an_emptied_table

pytestmark = pytest.mark.usefixtures("aws_credentials")


class TestOnMoto(ConversationStoreContract):
    @pytest.fixture
    async def store(self, moto_url: str, aws_credentials: None) -> AsyncIterator[DynamoDbStore]:  # noqa: ARG002
        async with an_emptied_table(moto_url) as table:
            yield table.store()


class TestOnDynamoDbLocal(ConversationStoreContract):
    @pytest.fixture
    async def store(self, dynamodb_local_url: str, aws_credentials: None) -> AsyncIterator[DynamoDbStore]:  # noqa: ARG002
        async with an_emptied_table(dynamodb_local_url) as table:
            yield table.store()


class TestMirroringOnDynamoDbLocal(ConversationStoreContract):
    @pytest.fixture
    async def store(self, dynamodb_local_url: str, aws_credentials: None) -> AsyncIterator[DynamoDbStore]:  # noqa: ARG002
        async with an_emptied_table(dynamodb_local_url) as table:
            yield table.store(mirror_messages=True)
