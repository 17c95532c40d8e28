"""Queued runs: one list in the item that names the unfinished run, so each step is one conditional write.

**Queueing** is putting a message that waits (`runs`), and in the same transaction appending its run to the
list. A message that is stored already costs one update.

**Beginning** takes the first run of the list and makes it the unfinished one, with the first entry of its log
and what it takes of the quotas. Only one process can: the others find that it is no longer the first.

**Leaving** takes a run out of the list and puts the end of its log. A withdrawn message is deleted; the claim
on its idempotency key stays, marked, so that no retry stores it again.
"""

from __future__ import annotations

import msgspec

from coachstream.conversation.errors import ConversationNotFound, MessageWithdrawn, StorageUnavailable
from coachstream.conversation.ids import first_message_id, milliseconds_of, moment_of, time_in
from coachstream.conversation.model import ConversationKey, Message, format_timestamp
from coachstream.conversation.quotas import UNLIMITED, QuotaLimits
from coachstream.conversation.run_log import LogEntry
from coachstream.conversation.run_queue import QueuedRun, RunQueue, place_behind
from coachstream.conversation.run_store import QueueIsFull, RunBegun, RunQueued
from coachstream.storage.dynamodb.errors import ConditionFailed, Contended
from coachstream.storage.dynamodb.items import RETRIES_KNOWN_FOR, expiry, message_of
from coachstream.storage.dynamodb.keys import (
    conversation_key,
    message_claim_key,
    message_key,
    unfinished_run_key,
)
from coachstream.storage.dynamodb.quotas import taking as taking_quota
from coachstream.storage.dynamodb.requests import (
    IS_THERE,
    ConditionCheck,
    Delete,
    Put,
    Update,
    Write,
    item_of,
)
from coachstream.storage.dynamodb.runs import (
    MOST_ATTEMPTS,
    MOST_ATTEMPTS_TO_WAIT,
    WITHDRAWN,
    DynamoDbRuns,
)
from coachstream.storage.dynamodb.table_client import Step, TransactionCancelled
from coachstream.storage.dynamodb.unfinished_runs import (
    UnfinishedRun,
    beginning,
    leaving,
    queueing,
    unfinished_run_in,
)
from coachstream.storage.log_entries import as_begun, opened_at


class DynamoDbQueuedRuns(DynamoDbRuns):
    """`RunStore`, with its queue."""

    async def enqueue_run(
        self,
        key: ConversationKey,
        user_message: Message,
        run_id: str,
        *,
        behind: str,
        most: int,
        time_zone: str | None = None,
    ) -> RunQueued | QueueIsFull | None:
        """Save the user message exactly once and queue a run for it (see `RunStore`)."""
        conversation_key(key)
        for _ in range(MOST_ATTEMPTS_TO_WAIT):
            at = time_in(user_message.id) or milliseconds_of(self._now())
            run = QueuedRun(run_id, user_message.id, at, time_zone=time_zone)
            writes = self._saving_new(key, user_message)
            writes[Step.UNFINISHED_RUN] = queueing(key, behind, run, user_message.id, most=most)
            try:
                await self._transact(key, writes)
            except TransactionCancelled as cancelled:
                there = await self._unfinished_run_there(cancelled, key)
                if cancelled.failed & {Step.MESSAGE, Step.CLAIM}:
                    stored = await self._stored(cancelled, key, user_message)
                    if stored is not None:
                        return await self._enqueue_stored(key, stored, run, behind=behind, most=most)
                elif there is not None:
                    if there.queue.first_run_id != behind:
                        return None
                    if len(there.queued) >= most:
                        return QueueIsFull()
                    user_message = msgspec.structs.replace(
                        user_message, id=place_behind(user_message.id, there.newest_id)
                    )
            else:
                return RunQueued(user_message, run)
        raise Contended("a run could not be queued because of contention with other messages")

    async def begin_queued(
        self, key: ConversationKey, run_id: str, opened: LogEntry, quotas: QuotaLimits = UNLIMITED
    ) -> RunBegun | None:
        """Begin the first run of the queue: two reads and a transaction (see `RunStore`).

        Raises:
            MessageWithdrawn: its message is gone, or was replaced, though the run has not left the queue.
        """
        queue = (await self._unfinished(key)).queue
        if queue.run_id is not None or queue.position_of(run_id) != 1:
            return None
        run = queue.queued[0]
        message = await self._message_of(key, run)
        if message is None:
            if (await self._unfinished(key)).queue.position_of(run_id) is None:
                return None
            raise MessageWithdrawn
        writes: dict[str, Write] = {
            Step.CONVERSATION: ConditionCheck(conversation_key(key), IS_THERE),
            Step.UNFINISHED_RUN: beginning(key, run_id),
            Step.ENTRY: self._logs.put_entry(key, run_id, as_begun(opened, run)),
            **taking_quota(key, quotas, opened_at(opened)),
        }
        for _ in range(MOST_ATTEMPTS):
            try:
                await self._transact(key, writes)
            except TransactionCancelled as cancelled:
                if Step.UNFINISHED_RUN in cancelled.failed:
                    await self._unfinished_run_there(cancelled, key)
                    return None
                if Step.ENTRY in cancelled.failed:
                    raise StorageUnavailable("a log of a queued run already exists") from None
                await self._quotas.make_room(cancelled, key, quotas, opened_at(opened))
            else:
                return RunBegun(message, run.is_first_attempt, run.at)
        raise Contended("a queued run could not begin because of contention with other runs")

    async def leave_queue(
        self, key: ConversationKey, run_id: str, ended: LogEntry, *, is_withdrawn: bool
    ) -> bool:
        """Take a run out of the queue (see `RunStore`)."""
        for _ in range(MOST_ATTEMPTS_TO_WAIT):
            queue = (await self._unfinished(key)).queue
            position = queue.position_of(run_id)
            if position is None:
                return False
            writes: dict[str, Write] = {
                Step.CONVERSATION: ConditionCheck(conversation_key(key), IS_THERE),
                Step.UNFINISHED_RUN: leaving(key, run_id, position=position),
                Step.ENTRY: self._logs.put_entry(key, run_id, ended),
            }
            if is_withdrawn:
                writes |= await self._deleting(key, queue.queued[position - 1])
            try:
                await self._transact(key, writes)
            except TransactionCancelled:
                continue
            return True
        raise Contended("a run could not leave the queue because of contention with other runs")

    async def read_queue(self, key: ConversationKey) -> RunQueue:
        """What the conversation works on: one read (see `RunStore`)."""
        return (await self._unfinished(key)).queue

    async def _unfinished(self, key: ConversationKey) -> UnfinishedRun:
        """Read the item of the unfinished run.

        Raises:
            ConversationNotFound: the conversation is being deleted.
        """
        conversation_key(key)
        there = unfinished_run_in(await self._table.get(unfinished_run_key(key)), key)
        if there.is_deleted:
            raise ConversationNotFound
        return there

    async def _enqueue_stored(
        self, key: ConversationKey, stored: Message, run: QueuedRun, *, behind: str, most: int
    ) -> RunQueued | QueueIsFull | None:
        """Queue a run for a message that is stored, at the end, unless it is in the queue."""
        for _ in range(MOST_ATTEMPTS_TO_WAIT):
            there = await self._unfinished(key)
            found = there.queue.run_of(stored.id)
            if found is not None:
                return RunQueued(stored, found)
            if there.queue.first_run_id != behind:
                return None
            if len(there.queued) >= most:
                return QueueIsFull()
            newest = time_in(there.newest_id or stored.id) or 0
            run = msgspec.structs.replace(
                run,
                user_message_id=stored.id,
                at=max(newest + 2, milliseconds_of(self._now())),
                is_first_attempt=False,
            )
            bound = first_message_id(moment_of(run.at))
            try:
                await self._table.change(queueing(key, behind, run, bound, most=most))
            except ConditionFailed:
                continue
            return RunQueued(stored, run)
        raise Contended("a run could not be queued because of contention with other messages")

    async def _message_of(self, key: ConversationKey, run: QueuedRun) -> Message | None:
        """The message of a queued run; None if it is gone, or was replaced and is an older version."""
        item = await self._table.get(message_key(key, run.user_message_id))
        return None if item is None else message_of(item)

    async def _deleting(self, key: ConversationKey, run: QueuedRun) -> dict[str, Write]:
        """The writes that delete a queued message, unless it has a part of a reply."""
        message = await self._message_of(key, run)
        if message is None:
            return {}
        if not run.is_first_attempt and await self._reply_index.load(key, message.id) is not None:
            return {}
        writes: dict[str, Write] = {
            Step.MESSAGE: Delete(message_key(key, message.id)),
            Step.CONVERSATION: Update(
                conversation_key(key),
                "SET #attributes.#metadata.#totalMessages = #attributes.#metadata.#totalMessages - :one,"
                " #updatedAt = :now",
                IS_THERE,
                {":one": 1, ":now": format_timestamp(self._now())},
            ),
        }
        client_id = message.metadata.client_message_id
        if client_id is not None:
            ttl = expiry(self._now() + RETRIES_KNOWN_FOR)
            claim = {"messageId": message.id, WITHDRAWN: True, "ttl": ttl}
            writes[Step.CLAIM] = Put(item_of(message_claim_key(key, client_id), claim))
        return writes
