"""The DynamoDB store meets the store contract on DynamoDB Local; on moto where that is not installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from coachstream.storage.dynamodb import DynamoDbStore
from contracts.conversation_store import ConversationStoreContract
from support.aws_session import SESSION
from support.dynamodb import an_emptied_table, missing_for_dynamodb_local

pytestmark = pytest.mark.usefixtures("aws_credentials")


if missing_for_dynamodb_local():

    class TestOnMoto(ConversationStoreContract):
        @pytest.fixture
        async def store(self, moto_url: str, aws_credentials: None) -> AsyncIterator[DynamoDbStore]:  # noqa: ARG002
            async with an_emptied_table(moto_url) as table:
                yield table.store()


class TestOnDynamoDbLocal(ConversationStoreContract):
    @pytest.fixture
    async def store(self, dynamodb_local_url: str, aws_credentials: None) -> AsyncIterator[DynamoDbStore]:  # noqa: ARG002
        async with (
            an_emptied_table(dynamodb_local_url) as table,
            aclosing(SESSION.dynamodb_requests(table.connection)) as client,
        ):
            yield DynamoDbStore(client, table.name)


class TestOnDynamoDbLocalWithTheSdk(ConversationStoreContract):
    @pytest.fixture
    async def store(self, dynamodb_local_url: str, aws_credentials: None) -> AsyncIterator[DynamoDbStore]:  # noqa: ARG002
        async with an_emptied_table(dynamodb_local_url) as table:
            yield table.store()


class TestMirroringOnDynamoDbLocal(ConversationStoreContract):
    @pytest.fixture
    async def store(self, dynamodb_local_url: str, aws_credentials: None) -> AsyncIterator[DynamoDbStore]:  # noqa: ARG002
        async with an_emptied_table(dynamodb_local_url) as table:
            yield table.store(mirror_messages=True)
