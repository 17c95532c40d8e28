"""What is written about a conversation after a turn: its summary, and a title in place of the default one.

A turn finds out what is due, which costs it no more than one read, and has it written elsewhere: by a
function that is invoked asynchronously, or after the response. Requests can arrive twice, late and
concurrently. A summary replaces only one of fewer messages, and a title only the default one, each by a
condition on the write. So the second of two requests costs a call of the model at most, and changes nothing.

After another try at the last exchange, the conversation has as many messages as before, but the last of them
has a later id. Then its summary replaces the one that has the older version.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Protocol

from coachstream.conversation.errors import ConversationNotFound, ModelUnavailable
from coachstream.conversation.model import Conversation, ConversationKey, Role, to_milliseconds
from coachstream.conversation.ports import (
    Clock,
    ContextStore,
    ConversationStore,
    NewSummary,
    SemanticMemory,
    Summarizer,
    SummaryReason,
    SummaryRequest,
    TitleRequest,
)
from coachstream.conversation.prompt.history import transcript
from coachstream.conversation.prompt.user import ConversationSummary
from coachstream.conversation.title import DEFAULT_TITLE, title_from

SUMMARY_EVERY_MESSAGES = 6

TITLE_FROM_MESSAGES = 2
"""The first exchange."""
TITLE_UP_TO_MESSAGES = 6
"""Later turns request no title, so that a model that finds none is not asked for ever."""

FEWEST_CHARS_FOR_TITLE = 10
"""What the user must have written: no title says more than `Hi`."""

MODEL_WITHIN_S = 60.0

SUMMARY_MESSAGES = 60
SUMMARY_CHARS = 40_000
LONGEST_MESSAGE_CHARS = 4_000
LONGEST_MESSAGE_CHARS_FOR_TITLE = 1_500


class Outcome(StrEnum):
    """What became of a request."""

    WRITTEN = "written"
    NOT_DUE = "not_due"
    DOES_NOT_FIT = "does_not_fit"
    CONVERSATION_GONE = "conversation_gone"


def due_summary(
    conversation: Conversation, *, added_messages: int, is_complex: bool
) -> SummaryRequest | None:
    """The summary that is due after a turn that added so many messages, if any.

    It is due when they reach or pass a multiple of `SUMMARY_EVERY_MESSAGES`, or are complex.
    """
    count = conversation.total_messages
    if count // SUMMARY_EVERY_MESSAGES > (count - added_messages) // SUMMARY_EVERY_MESSAGES:
        return SummaryRequest(conversation.key, SummaryReason.MESSAGE_COUNT, count)
    if is_complex:
        return SummaryRequest(conversation.key, SummaryReason.COMPLEXITY, count)
    return None


def due_title(conversation: Conversation) -> TitleRequest | None:
    """The title that is due after a turn, if any."""
    is_early = TITLE_FROM_MESSAGES <= conversation.total_messages <= TITLE_UP_TO_MESSAGES
    is_due = is_early and conversation.title == DEFAULT_TITLE
    return TitleRequest(conversation.key) if is_due else None


class PostTurnStore(ContextStore, ConversationStore, Protocol):
    """The store of the conversations."""


class PostTurn:
    """Writes what turns have requested.

    Args:
        store: has the conversations, and gets the result.
        summarizer: writes.
        recall: the index that summaries are added to; None if there is none.
        clock: dates the summaries.
    """

    def __init__(
        self, store: PostTurnStore, summarizer: Summarizer, recall: SemanticMemory | None, clock: Clock
    ) -> None:
        self._store = store
        self._summarizer = summarizer
        self._recall = recall
        self._clock = clock

    async def process(self, request: SummaryRequest | TitleRequest) -> Outcome:
        """Do what is requested, unless it is done.

        Raises:
            ModelError: the model wrote nothing that can be used. The request can be repeated.
            StorageUnavailable: store or index failed. The request can be repeated.
        """
        try:
            if isinstance(request, TitleRequest):
                return await self._write_title(request.key)
            return await self._write_summary(request)
        except ConversationNotFound:
            return Outcome.CONVERSATION_GONE

    async def _write_title(self, key: ConversationKey) -> Outcome:
        if (await self._store.get_conversation(key)).title != DEFAULT_TITLE:
            return Outcome.NOT_DUE
        history = await self._store.load_history(key, limit=TITLE_UP_TO_MESSAGES, budget_chars=SUMMARY_CHARS)
        longest_chars = LONGEST_MESSAGE_CHARS_FOR_TITLE
        messages = transcript(history, budget_chars=SUMMARY_CHARS, longest_chars=longest_chars)
        written_chars = sum(len(message.text) for message in messages if message.role is Role.USER)
        if written_chars < FEWEST_CHARS_FOR_TITLE:
            return Outcome.NOT_DUE
        async with _time_limit():
            suggestion = await self._summarizer.suggest_title(messages)
        title = title_from(suggestion)
        if title is None:
            return Outcome.DOES_NOT_FIT
        is_written = await self._store.replace_default_title(key, title)
        return Outcome.WRITTEN if is_written else Outcome.NOT_DUE

    async def _write_summary(self, request: SummaryRequest) -> Outcome:
        key = request.key
        summary = await self._store.load_summary(key)
        outcome = Outcome.NOT_DUE
        if summary.total_messages <= request.message_count:
            written = await self._summary(request, summary)
            if written is not None and await self._store.save_summary(key, written):
                outcome = Outcome.WRITTEN
                summary = written.content.as_read(
                    total_messages=written.total_messages,
                    created_at=written.created_at,
                    last_message_id=written.last_message_id,
                )
            elif written is not None:
                summary = await self._store.load_summary(key)
        # Also if there was one: an earlier attempt may have failed here.
        if self._recall is not None and summary.narrative:
            await self._index(self._recall, key, summary)
        return outcome

    async def _summary(self, request: SummaryRequest, earlier: ConversationSummary) -> NewSummary | None:
        history = await self._store.load_history(
            request.key, limit=SUMMARY_MESSAGES, budget_chars=SUMMARY_CHARS
        )
        messages = transcript(history, budget_chars=SUMMARY_CHARS, longest_chars=LONGEST_MESSAGE_CHARS)
        if not messages:
            return None
        if earlier.total_messages == request.message_count:
            if not earlier.last_message_id or earlier.last_message_id >= history[-1].id:
                return None
            if len(history) < SUMMARY_MESSAGES:
                earlier = ConversationSummary()  # it summarizes a version that is not the chosen one any more
        async with _time_limit():
            content = await self._summarizer.summarize(messages, earlier)
        return NewSummary(
            content=content,
            reason=request.reason,
            total_messages=request.message_count,
            first_message_id=history[0].id,
            last_message_id=history[-1].id,
            created_at=to_milliseconds(self._clock.now()),
        )

    async def _index(
        self, recall: SemanticMemory, key: ConversationKey, summary: ConversationSummary
    ) -> None:
        await recall.remember_summary(key, summary)
        try:
            await self._store.get_conversation(key)
        except ConversationNotFound:
            # It was deleted meanwhile, and perhaps removed from the index before this was added.
            await recall.forget_conversation(key.user_id, key.conversation_id)
            raise


@asynccontextmanager
async def _time_limit() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(MODEL_WITHIN_S):
            yield
    except TimeoutError:
        raise ModelUnavailable(f"the model wrote nothing within {MODEL_WITHIN_S:g} s") from None
