"""Stores a question and its reply as if a run had produced them."""

from __future__ import annotations

import secrets
from contextlib import suppress

import msgspec

from coachstream.conversation.errors import RunNotFound, TurnInterrupted
from coachstream.conversation.ids import first_message_id, id_after, moment_of
from coachstream.conversation.ids import run_id as new_run_id
from coachstream.conversation.model import (
    ConversationKey,
    Message,
    SemanticContextUse,
    StopReason,
    Timings,
    Usage,
)
from coachstream.conversation.run_log import Broken, Content, Finished, LogEntry, Opened
from coachstream.conversation.run_store import ConversationBusy, RunBegun, RunStore

_WRITER = "exchange"


async def store_exchange(store: RunStore, key: ConversationKey, question: Message, reply: Message) -> None:
    """Store both unless they exist; an unfinished run of the conversation is interrupted, queued ones end.

    Raises:
        ConversationNotFound, StorageUnavailable: as the store does.
    """
    run_id = new_run_id(question.timestamp, secrets.randbelow)
    while True:
        begun = await store.begin_run(key, question, run_id, _entry(0, Opened(question.id)))
        if not isinstance(begun, ConversationBusy):
            break
        broken = Broken(TurnInterrupted.code, retryable=True)
        for run in begun.queued:
            await store.leave_queue(key, run.run_id, _entry(1, broken), is_withdrawn=False)
        if begun.is_idle:
            continue
        last = await store.read_last(key, begun.run_id)
        with suppress(RunNotFound):  # it ended in the meantime
            await store.finish_run(
                key, begun.run_id, _entry(0 if last is None else last.number + 1, broken), None
            )
    if isinstance(begun, RunBegun):
        metadata = msgspec.structs.replace(reply.metadata, reply_to=begun.user_message.id, run_id=run_id)
        in_order = id_after(reply.id, first_message_id(moment_of(begun.at + 1)))
        reply = msgspec.structs.replace(reply, id=in_order, metadata=metadata)
        ending = Finished(
            reply_id=reply.id,
            stop_reason=reply.metadata.stop_reason or StopReason.END_TURN,
            semantic_context=SemanticContextUse(),
            usage=Usage(),
            timings=Timings(context=0, first_chunk=None, total=0),
        )
        await store.finish_run(key, run_id, _entry(1, ending), reply)


def _entry(number: int, content: Content) -> LogEntry:
    return LogEntry(number, epoch=1, leased_until=0, writer=_WRITER, content=content)
