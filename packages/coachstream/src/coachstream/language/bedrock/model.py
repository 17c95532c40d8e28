"""The chat models: one streams, one returns the reply in one piece; both share requests and retries.

A call is retried only while none of the reply has been sent. After that, every failure means that the stream
broke. A parameter that the model rejects is omitted from the immediate retry and from all later requests.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, cast

from coachstream.conversation.errors import (
    DeadlineExceeded,
    ModelError,
    ModelNotUsable,
    ModelStreamBroken,
    ModelUnavailable,
    describe_exception,
)
from coachstream.conversation.ports import ModelEvent, TextDelta
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.language.bedrock.attempts import Attempts, Sleep
from coachstream.language.bedrock.client import OpenClient
from coachstream.language.bedrock.continuation import ContinuationJoiner
from coachstream.language.bedrock.errors import ParameterRefused, failure_of
from coachstream.language.bedrock.events import ReplyReader, whole_reply
from coachstream.language.bedrock.options import BedrockOptions
from coachstream.language.bedrock.parameters import Parameter, RefusedParameters, has, without
from coachstream.language.bedrock.reply_stream import OUT_OF_TIME, ReplyStream, open_stream
from coachstream.language.bedrock.request import stream_request, whole_request

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.type_defs import (
        ConverseResponseTypeDef,
        ConverseStreamRequestTypeDef,
    )
logger = logging.getLogger("coachstream.bedrock")

USAGE_WITHIN_S = 2.0
"""The time limit for the usage and the end of the response. The reply is complete without them."""

UNUSABLE_FOR_S = 300.0
"""How long a model that is not usable is skipped, if there is a fallback. Each attempt delays the first text
by a rejected request, so not every turn should make one; and after an operator enables access, the model is
used within minutes and without a restart."""


class _BedrockChat(ABC):
    """The base of both models."""

    def __init__(
        self,
        client: OpenClient,
        options: BedrockOptions,
        *,
        refused: RefusedParameters | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Store the configuration; open nothing yet.

        Args:
            client: returns the open client. It must not retry by itself, and its
                read timeout must be at least the model's longest silence: `options.stall_s` for a stream, a
                whole turn for a reply in one piece.
            options: the model and its parameters.
            refused: the parameters that models have rejected in this process; share it between instances.
            monotonic: the clock of the deadlines, in seconds.
            sleep: sleeps for a number of seconds.
            chance: a random number from 0 to 1, for the jitter.
        """
        self._client = client
        self._asked_for = options
        self._refused = refused or RefusedParameters()
        self._unusable_until = -math.inf
        self._monotonic = monotonic
        self._sleep = sleep
        self._chance = chance

    @property
    def display_name(self) -> str:
        """The name stored with every reply."""
        return self._asked_for.display_name

    @property
    def can_continue(self) -> bool:
        """Whether the model can continue the partial reply in `Prompt.said`."""
        return self._options.can_continue

    @property
    def is_usable(self) -> bool:
        """False for `UNUSABLE_FOR_S` after the service rejected the model."""
        return self._monotonic() >= self._unusable_until

    @property
    def _options(self) -> BedrockOptions:
        """The configured options without the parameters that the model has rejected."""
        return self._refused.left_out_of(self._asked_for)

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        """Stream the reply (see `ChatModel`).

        Raises:
            ModelThrottled, ModelUnavailable, ModelRejected, ModelNotUsable: as named; no text was produced.
            NoCredentials: the service does not accept the credentials.
            ModelStreamBroken: the stream ended early; or its first events could not be parsed.
            DeadlineExceeded: the deadline passed.
        """
        options = self._options
        attempts = Attempts(
            options.retry,
            deadline=deadline,
            monotonic=self._monotonic,
            sleep=self._sleep,
            chance=self._chance,
        )
        left_out: list[Parameter] = []
        while True:
            has_spoken = False
            failure: ModelError = ModelStreamBroken("the stream ended before any text")
            try:
                async with aclosing(self._joined_attempt(prompt, options, attempts)) as events:
                    async for event in events:
                        has_spoken = True
                        # Only success proves that the parameter was the cause.
                        self._remember(left_out)
                        yield event
                if has_spoken:
                    return
            except ModelError as error:
                if has_spoken:
                    raise ModelStreamBroken(str(error)) from error
                failure = error
            if isinstance(failure, ModelNotUsable):
                self._unusable_until = self._monotonic() + UNUSABLE_FOR_S
            if isinstance(failure, ParameterRefused) and has(options, failure.parameter):
                if failure.parameter is Parameter.PREFILL:
                    # The reader has the partial reply: the caller must reset it first.
                    self._remember([failure.parameter])
                    raise failure
                left_out.append(failure.parameter)
                options = without(options, failure.parameter)
                continue
            await attempts.pause_after(failure)
            logger.info("Retrying the model call after: %s", failure)

    def _remember(self, refused: list[Parameter]) -> None:
        for parameter in refused:
            if self._refused.add(self._asked_for.model_id, parameter):
                logger.warning("%s does not accept %s; it is no longer sent", self.display_name, parameter)
        refused.clear()

    async def _joined_attempt(
        self, prompt: Prompt, options: BedrockOptions, attempts: Attempts
    ) -> AsyncGenerator[ModelEvent, None]:
        """Make one call; its text continues the partial reply."""
        joiner = ContinuationJoiner(prompt.said if options.can_continue else "")
        async with aclosing(self._attempt(prompt, options, attempts)) as events:
            async for event in events:
                if not isinstance(event, TextDelta):
                    yield event
                elif text := joiner.feed(event.text):
                    yield TextDelta(text)

    @abstractmethod
    def _attempt(
        self, prompt: Prompt, options: BedrockOptions, attempts: Attempts
    ) -> AsyncGenerator[ModelEvent, None]:
        """Make one call, from the request to the end of the response."""

    @asynccontextmanager
    async def _calling(self, attempts: Attempts, *, longest_s: float = math.inf) -> AsyncIterator[None]:
        """Limit the time of a call to the service, and map its exceptions.

        Raises:
            ModelError: the call failed, or took longer than `longest_s`.
            DeadlineExceeded: the call reached the deadline.
        """
        left_s = attempts.seconds_left()
        if left_s == 0:
            raise DeadlineExceeded(OUT_OF_TIME)
        limit = asyncio.timeout(min(longest_s, left_s))
        try:
            async with limit:
                yield
        except Exception as error:
            if not limit.expired():
                raise failure_of(error, self._asked_for.model_id) from error
            if left_s <= longest_s:
                raise DeadlineExceeded(OUT_OF_TIME) from error
            raise ModelUnavailable(f"no event for {longest_s:g} s") from error


class BedrockModel(_BedrockChat):
    """A `ChatModel` over ConverseStream: text that arrives together is one delta."""

    async def _attempt(
        self, prompt: Prompt, options: BedrockOptions, attempts: Attempts
    ) -> AsyncGenerator[ModelEvent, None]:
        reply = ReplyReader(guardrail_warns=options.guardrail_warns)
        async with self._opened(stream_request(prompt, options), reply, attempts) as stream:
            while not reply.is_stopped:
                text = await stream.read()
                if text is None:
                    return
                if text:
                    yield TextDelta(text)
            await _read_to_end(stream, within_s=min(USAGE_WITHIN_S, attempts.seconds_left() / 2))
        yield reply.stop()

    @asynccontextmanager
    async def _opened(
        self, request: ConverseStreamRequestTypeDef, reply: ReplyReader, attempts: Attempts
    ) -> AsyncIterator[ReplyStream]:
        asked_for = self._asked_for
        async with self._calling(attempts, longest_s=asked_for.stall_s):
            client = await self._client()
            response, source = await open_stream(
                client, request, reply, decoded_by_sdk=asked_for.decoded_by_sdk
            )
        stream = ReplyStream(
            response, source, attempts, stall_s=asked_for.stall_s, model_id=asked_for.model_id
        )
        try:
            yield stream
        finally:
            await stream.aclose()


class BedrockWholeReply(_BedrockChat):
    """A `ChatModel` over Converse: the reply is one delta, which arrives when it is complete."""

    async def _attempt(
        self, prompt: Prompt, options: BedrockOptions, attempts: Attempts
    ) -> AsyncGenerator[ModelEvent, None]:
        request = whole_request(prompt, options)
        async with self._calling(attempts):
            client = await self._client()
            response = await client.converse(**request)
            text, stop = whole_reply(
                cast("ConverseResponseTypeDef", response), guardrail_warns=options.guardrail_warns
            )
        if text:
            yield TextDelta(text)
        yield stop


async def _read_to_end(stream: ReplyStream, *, within_s: float) -> None:
    """Read the events after the model's stop; the reply is complete, so failures here are only logged."""
    try:
        async with asyncio.timeout(within_s):
            while await stream.read() is not None:
                pass
    except Exception as error:  # noqa: BLE001 (see above)
        logger.warning(
            "A reply is complete, but its usage and a guardrail's findings may be missing: %s",
            describe_exception(error),
        )
