"""What must hold of turns with a guardrail, on every store, with a model on Bedrock behind real HTTP.

A subclass provides `store`, as for `ConversationStoreContract`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.events import Completed, Event, Failed
from coachstream.conversation.parts import TurnParts
from coachstream.conversation.turn import run_turn
from coachstream.conversation.turn_request import TurnRequest
from coachstream.language.bedrock import BedrockModel, BedrockOptions, BedrockWholeReply, RetryPolicy
from contracts.store_records import KEY, SeedableStore, StoreContract
from support.bedrock_guardrail import WordGuardrail
from support.bedrock_server import BedrockServer, Refusal, bedrock_client, bedrock_server

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient

ModelType = type[BedrockModel | BedrockWholeReply]

OPTIONS = BedrockOptions(
    guardrail_id="abc123", retry=RetryPolicy(attempts=2, first_pause_s=0.001, least_s=0.1)
)
BOTH_WAYS = pytest.mark.parametrize("model_type", [BedrockModel, BedrockWholeReply])
THROTTLED = Refusal(429, "ThrottlingException")


class SystemClock:
    """The time as it is."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class Talk:
    """A conversation with a guarded model."""

    def __init__(
        self, store: SeedableStore, bedrock: BedrockServer, client: AwsClient[BedrockRuntimeClient]
    ) -> None:
        self.store = store
        self.bedrock = bedrock
        self.model_type: ModelType = BedrockModel
        self._client = client

    async def say(self, text: str, *, client_message_id: str | None = None) -> list[Event]:
        """All events of the turn that answers a message."""
        parts = TurnParts(
            runs=self.store,
            context=self.store,
            conversations=self.store,
            memories=self.store,
            model=self.model_type(self._client, OPTIONS),
            recall=None,
            clock=SystemClock(),
        )
        request = TurnRequest(KEY, text, time.monotonic() + 30, client_message_id=client_message_id)
        return [event async for event in run_turn(request, parts)]

    async def fails(self, text: str, code: ErrorCode, *, client_message_id: str | None = None) -> Failed:
        """The failure of a turn that must fail with this code."""
        end = (await self.say(text, client_message_id=client_message_id))[-1]
        assert isinstance(end, Failed)
        assert end.code is code
        return end

    async def completes(self, text: str, *, client_message_id: str | None = None) -> Completed:
        """The end of a turn that must be whole."""
        end = (await self.say(text, client_message_id=client_message_id))[-1]
        assert isinstance(end, Completed)
        return end

    @property
    def guardrail(self) -> WordGuardrail:
        """The guardrail that the server applies."""
        assert self.bedrock.guardrail is not None
        return self.bedrock.guardrail

    @property
    def last_prompt(self) -> str:
        """All that the model was last given, as the request said it."""
        return str(self.bedrock.requests[-1].body)


class GuardedTurnContract(StoreContract):
    """Turns with a guardrail."""

    @pytest.fixture
    async def talk(self, store: SeedableStore, aws_credentials: None) -> AsyncIterator[Talk]:  # noqa: ARG002
        async with bedrock_server() as bedrock, bedrock_client(bedrock.url) as client:
            bedrock.guardrail = WordGuardrail(("forbidden",))
            yield Talk(store, bedrock, client)

    @BOTH_WAYS
    async def test_a_blocked_word_whose_own_turn_failed_blocks_no_later_message(
        self, talk: Talk, model_type: ModelType
    ) -> None:
        """The history carries it, but only the newest message is judged."""
        talk.model_type = model_type
        talk.bedrock.answers.extend([THROTTLED, THROTTLED])
        await talk.fails("Is this forbidden?", ErrorCode.MODEL_THROTTLED)
        for text in ("How was my week?", "And what now?"):
            await talk.completes(text)
            assert talk.guardrail.judged[-1] == [text]
