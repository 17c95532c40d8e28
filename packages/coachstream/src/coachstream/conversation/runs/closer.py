"""Closes runs whose lease holder died, and keeps the text that the log has."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence

from coachstream.conversation.another_try import AnotherTry
from coachstream.conversation.errors import RunNotFound, TurnInterrupted, sentence_of
from coachstream.conversation.events import Completed, Failed, LogPoint
from coachstream.conversation.ids import RandomBelow, message_id
from coachstream.conversation.limits import LONGEST_REPLY_BYTES
from coachstream.conversation.model import (
    ConversationKey,
    Message,
    MessageMetadata,
    Role,
    SemanticContextUse,
    StopReason,
    Timings,
    Usage,
    to_milliseconds,
)
from coachstream.conversation.ports import Clock
from coachstream.conversation.run_log import (
    Broken,
    Ending,
    Finished,
    LogEntry,
    RunState,
    ending_of,
    reply_time,
)
from coachstream.conversation.run_queue import QueuedRun
from coachstream.conversation.run_store import RunStore
from coachstream.conversation.runs.claim import RunClaim
from coachstream.conversation.runs.lease import LeaseWatch
from coachstream.conversation.runs.settings import RunSettings
from coachstream.conversation.text import beginning_of
from coachstream.conversation.visible_text import is_blank

logger = logging.getLogger("coachstream.runs")

_MISSING_LOG_END = LogEntry(-1, 0, 0, "", Broken(TurnInterrupted.code, retryable=True))
"""The last entry to assume for a run whose log has expired."""


class RunCloser:
    """Closes dead runs."""

    def __init__(
        self,
        store: RunStore,
        clock: Clock,
        settings: RunSettings,
        *,
        model_name: str,
        random_below: RandomBelow = secrets.randbelow,
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._model_name = model_name
        self._random_below = random_below

    async def settle(self, key: ConversationKey) -> Sequence[QueuedRun]:
        """Close the conversation's run if its lease holder died long ago; return the queue.

        A run that may be alive is left to processes that can observe its lease (`LeaseWatch`): its readers,
        and the sender of the next message.

        Raises:
            ConversationNotFound, StorageUnavailable: as the store does.
        """
        queue = await self._store.read_queue(key)
        if queue.run_id is not None:
            await self.close_if_long_dead(key, queue.run_id)
        return queue.queued

    async def close_if_long_dead(self, key: ConversationKey, run_id: str) -> None:
        """Close a run whose lease expired long ago; observing such a lease takes a few renewal intervals.

        Raises:
            ConversationNotFound, StorageUnavailable: as the store does.
        """
        watch = LeaseWatch(self._clock, self._settings)
        while not watch.is_over:
            asked_at = self._clock.monotonic()
            last = await self._store.read_last(key, run_id)
            if last is None:
                break
            watch.note([last], asked_at=asked_at)
            if ending_of(last) is not None or watch.was_renewed or not watch.is_long_over:
                return
            await asyncio.sleep(watch.seconds_left)
        await self.close(key, run_id, RunState.of(await self._store.read_log(key, run_id)))

    async def abandon(self, claim: RunClaim) -> None:
        """End a run that was opened but will not be produced."""
        ending = Broken(TurnInterrupted.code, retryable=True)
        entry = LogEntry(claim.last + 1, claim.epoch, 0, claim.writer, ending)
        await self._store.finish_run(claim.key, claim.run_id, entry, None)

    async def close(self, key: ConversationKey, run_id: str, state: RunState | None) -> None:
        """End a run with the text in its log; do nothing if another process has written in the meantime.

        If a stop was requested, the text is the complete reply. Otherwise the reply is interrupted. Another
        try without a complete reply leaves none.
        """
        last = _MISSING_LOG_END if state is None else state.last
        if state is not None and state.ending is not None:
            return
        reply = None if state is None else self._reply(run_id, state)
        entry = LogEntry(
            number=last.number + 1,
            epoch=last.epoch + 1,
            leased_until=last.leased_until,
            writer=secrets.token_hex(8),
            content=_ending(reply),
        )
        another_try = None if state is None else state.opened.another_try
        try:
            there = await self._store.finish_run(key, run_id, entry, reply, another_try=another_try)
        except RunNotFound:
            return  # it was already closed or finished, and its log has expired
        if there is None:
            logger.warning("Closed a run whose lease holder had died")

    def _reply(self, run_id: str, state: RunState) -> Message | None:
        another_try = state.opened.another_try
        if another_try is None:
            is_none = is_blank(state.text) and not state.is_stop_asked
        else:
            is_none = is_blank(state.text) or not state.is_stop_asked
        if is_none:
            return None
        continued_id = None if another_try is None else another_try.continued_id
        after_all_others = reply_time(state.opened.at)
        return Message(
            id=continued_id or message_id(after_all_others, Role.ASSISTANT, self._random_below),
            role=Role.ASSISTANT,
            content=beginning_of(state.text, most_bytes=LONGEST_REPLY_BYTES),
            timestamp=min(after_all_others, to_milliseconds(self._clock.now())),
            metadata=MessageMetadata(
                model=self._model_name,
                stop_reason=StopReason.STOPPED if state.is_stop_asked else StopReason.INTERRUPTED,
                reply_to=state.opened.user_message_id,
                run_id=run_id,
                versions=0 if another_try is None else another_try.versions,
            ),
        )


def _ending(reply: Message | None) -> Ending:
    if reply is not None and reply.metadata.stop_reason is StopReason.STOPPED:
        return Finished(reply.id, StopReason.STOPPED, SemanticContextUse(), Usage(), Timings(0, None, 0))
    return Broken(TurnInterrupted.code, retryable=True, partial_reply_id=None if reply is None else reply.id)


def completed(
    key: ConversationKey,
    user_message: Message,
    reply: Message,
    ending: Finished,
    point: LogPoint,
    another_try: AnotherTry | None,
) -> Completed:
    """The last event of a run that has a reply: the same for all its readers."""
    return Completed(
        user_message=user_message,
        reply=reply,
        conversation_id=key.conversation_id,
        semantic_context=ending.semantic_context,
        stop_reason=ending.stop_reason,
        usage=ending.usage,
        timings=ending.timings,
        point=point,
        quotas=ending.quotas,
        replaced=() if another_try is None else another_try.older_ids,
    )


def failed(ending: Broken, partial_reply: Message | None, point: LogPoint) -> Failed:
    """The last event of a run that has no complete reply."""
    return Failed(ending.code, sentence_of(ending.code), ending.retryable, partial_reply, point)
