"""Runs: each user message exactly once, at most one unfinished run per conversation, and its log.

Each step is one transaction, so a crash cannot leave it half done. With quotas, what a run takes is one more
item of the transaction that begins it, and what it has spent is part of the one that finishes it (`quotas`).

**Beginning** puts the message and its claim (the idempotency key), makes the run the conversation's
unfinished one, puts the first entry of its log, and increments the conversation's message count. If the
message already exists, the reply index shows without a search whether it has a reply. A retry begins its run
with a compare-and-set on that index item, so that an attempt that ends in the meantime does not get a second
reply. A message whose id is not the greatest gets one that is, and the transaction is repeated.

**Appending** is one conditional put (optimistic concurrency). If the number is taken, the response has the
existing entry, so a lease holder finds out about a stop request or its successor without a read.

**Finishing** puts the last entry, which prevents all other processes from finishing, the reply and its index
item, deletes the interrupted reply that it replaces, updates the count, and releases the conversation. The
first attempt assumes the usual case, a first reply, and is repeated if that assumption fails.

**A message that must wait** for the end of a run is put with its claim and counted, on condition that the
run is still the unfinished one. The retry that begins its run finds it like any other stored message.

The process holds no state: a run that was begun and not finished ends when the lease in its log expires.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import msgspec

from coachstream.conversation.another_try import AnotherTry, TryKind, TryRequest, Version
from coachstream.conversation.errors import (
    ConversationNotFound,
    IdempotencyMismatch,
    MessageWithdrawn,
    NotTheLastExchange,
    RunNotFound,
    StorageUnavailable,
)
from coachstream.conversation.ids import first_message_id, id_after
from coachstream.conversation.model import ConversationKey, Message, Role, format_timestamp
from coachstream.conversation.prompt.records import as_record, as_text
from coachstream.conversation.quotas import UNLIMITED, OwnLimits, QuotaLimits, QuotaUse, Spent
from coachstream.conversation.run_log import LogEntry
from coachstream.conversation.run_queue import place_behind
from coachstream.conversation.run_store import AlreadyAnswered, ConversationBusy, RunBegun
from coachstream.storage.dynamodb.counter_repair import repair_counter
from coachstream.storage.dynamodb.errors import ConditionFailed, Contended, RequestRefused
from coachstream.storage.dynamodb.history import newest_id
from coachstream.storage.dynamodb.items import (
    HANDED_OFF,
    RETRIES_KNOWN_FOR,
    expiry,
    message_item,
    message_of,
)
from coachstream.storage.dynamodb.keys import (
    conversation_key,
    end_of,
    is_name,
    message_claim_key,
    message_key,
    messages_prefix,
    partition,
    unfinished_run_key,
    version_key,
)
from coachstream.storage.dynamodb.log_items import is_of_coach
from coachstream.storage.dynamodb.mirror import Mirror
from coachstream.storage.dynamodb.quotas import Quotas, using_up
from coachstream.storage.dynamodb.quotas import taking as taking_quota
from coachstream.storage.dynamodb.reply_index import IndexedReply, ReplyIndex, indexed_reply_in
from coachstream.storage.dynamodb.requests import (
    IS_NOT_THERE,
    IS_THERE,
    ConditionCheck,
    Delete,
    Put,
    Update,
    Write,
    item_of,
)
from coachstream.storage.dynamodb.run_logs import RunLogs
from coachstream.storage.dynamodb.table_client import (
    Range,
    Step,
    TableClient,
    TransactionCancelled,
)
from coachstream.storage.dynamodb.tries import Tries, is_key_of_try
from coachstream.storage.dynamodb.unfinished_runs import (
    UnfinishedRun,
    advancing,
    bound_after,
    forgetting,
    freeing,
    taking,
    unfinished_run_in,
)
from coachstream.storage.idempotency import require_same_text
from coachstream.storage.log_entries import as_stored, is_repeated, opened_at

WITHDRAWN = "isWithdrawn"
"""The mark of a claim whose message was withdrawn and deleted."""

MOST_ATTEMPTS = 4
"""The maximum number of attempts to begin or finish a run under contention."""

MOST_ATTEMPTS_TO_WAIT = 12
"""Likewise to save a waiting message: of several at the same time, each attempt saves at least one."""


class DynamoDbRuns:
    """`RunStore`."""

    def __init__(self, table: TableClient, mirror: Mirror | None, *, now: Callable[[], datetime]) -> None:
        self._table = table
        self._reply_index = ReplyIndex(table, now=now)
        self._logs = RunLogs(table, now=now)
        self._quotas = Quotas(table, self._logs)
        self._mirror = mirror
        self._now = now
        self._tries = Tries(table, self._reply_index, self._logs, self._quotas, now=now)

    async def begin_run(
        self,
        key: ConversationKey,
        user_message: Message,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        """Save the user message exactly once and open a run for it (see `RunStore`).

        If the caller is cancelled, the run may have begun; it then exists until its lease expires.
        """
        looked_up = False
        for _ in range(MOST_ATTEMPTS):
            writes = self._first_attempt(key, user_message, run_id, opened, looked_up=looked_up)
            writes |= taking_quota(key, quotas, opened_at(opened))
            try:
                await self._transact(key, writes)
            except TransactionCancelled as cancelled:
                there = await self._unfinished_run_there(cancelled, key)
                result = await self._despite(cancelled, there, key, user_message, run_id, opened, quotas)
                if result is not None:
                    return result
                await self._quotas.make_room(cancelled, key, quotas, opened_at(opened))
                if there is not None and not cancelled.failed & {Step.MESSAGE, Step.CLAIM}:
                    looked_up = there.newest_id is None
                    newest = await newest_id(self._table, key) if there.newest_id is None else there.newest_id
                    user_message = msgspec.structs.replace(user_message, id=id_after(user_message.id, newest))
            else:
                first = as_stored(opened, user_message.id, is_first_attempt=True, newest_id=user_message.id)
                return RunBegun(user_message, is_first_attempt=True, at=opened_at(first))
        raise Contended("a run could not begin because of contention with other runs")

    async def begin_try(
        self,
        key: ConversationKey,
        request: TryRequest,
        user_message: Message | None,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        """Open a run that tries the last exchange again (see `RunStore`): four reads and a transaction."""
        return await self._tries.begin(key, request, user_message, run_id, opened, quotas)

    async def choose_version(self, key: ConversationKey, reply_id: str, version_id: str) -> None:
        """Make an older version of the last exchange the chosen one (see `RunStore`)."""
        chosen = await self._tries.choose(key, reply_id, version_id)
        if self._mirror is not None and chosen is not None:
            await self._mirror.show(key, chosen.reply, older_ids=chosen.older_ids)

    async def load_versions(self, key: ConversationKey, message_id: str) -> Sequence[Version]:
        """The versions of a message's exchange (see `ConversationStore`): three queries."""
        return await self._tries.versions(key, message_id)

    async def save_waiting_message(
        self, key: ConversationKey, user_message: Message, run_id: str
    ) -> Message | None:
        """Save a user message that waits for the end of the unfinished run: one transaction.

        See `RunStore`.
        """
        conversation_key(key)
        for _ in range(MOST_ATTEMPTS_TO_WAIT):
            writes = self._saving_new(key, user_message)
            writes[Step.UNFINISHED_RUN] = advancing(key, run_id, user_message.id)
            try:
                await self._transact(key, writes)
            except TransactionCancelled as cancelled:
                there = await self._unfinished_run_there(cancelled, key)
                if there is not None and there.queue.first_run_id != run_id:
                    return None
                if cancelled.failed & {Step.MESSAGE, Step.CLAIM}:
                    stored = await self._stored(cancelled, key, user_message)
                    if stored is not None:
                        return stored
                elif there is not None:
                    user_message = msgspec.structs.replace(
                        user_message, id=place_behind(user_message.id, there.newest_id)
                    )
            else:
                return user_message
        raise Contended("a message could not be saved because of contention with other messages")

    async def append(self, key: ConversationKey, run_id: str, entry: LogEntry) -> LogEntry | None:
        """Append an entry unless its number is taken (see `RunStore`); one write, and no read.

        Raises:
            ConversationNotFound, RunNotFound: for ids that none can have. Others are not looked up.
        """
        return await self._logs.append(key, run_id, entry)

    async def read_log(self, key: ConversationKey, run_id: str, *, after: int = -1) -> Sequence[LogEntry]:
        """The entries with numbers above `after`, in order: one query per megabyte."""
        return await self._logs.read(key, run_id, after=after)

    async def read_last(self, key: ConversationKey, run_id: str) -> LogEntry | None:
        """The newest entry; None for an unknown run."""
        return await self._logs.last(key, run_id)

    async def finish_run(
        self,
        key: ConversationKey,
        run_id: str,
        ended: LogEntry,
        reply: Message | None,
        spent: Spent | None = None,
        another_try: AnotherTry | None = None,
    ) -> LogEntry | None:
        """Append the last entry, save the reply, and release the conversation (see `RunStore`)."""
        conversation_key(key)
        try:
            there = await self._finish(key, run_id, ended, reply, spent, another_try)
        except ConversationNotFound:
            await self._logs.forget(key, run_id)
            raise
        if there is not None and not is_repeated(ended, there):
            return there
        if self._mirror is not None and reply is not None:
            await self._mirror.show(key, reply, older_ids=another_try.older_ids if another_try else ())
        return None

    async def quota_use(self, user_id: str, limits: QuotaLimits, *, at: int) -> QuotaUse:
        """What a user has taken of the quotas (see `RunStore` and `Quotas.use`)."""
        return await self._quotas.use(user_id, limits, at=at)

    async def set_own_limits(self, user_id: str, own: OwnLimits) -> None:
        """Give a user limits of their own, which replace those of all users."""
        await self._quotas.set_own_limits(user_id, own)

    async def load_message(self, key: ConversationKey, message_id: str) -> Message | None:
        """A message that a run saved; one of an older version costs a second read."""
        try:
            conversation_key(key)
        except ConversationNotFound:
            return None
        if not is_name(message_id):
            return None
        item = await self._table.get(message_key(key, message_id))
        if item is None:
            item = await self._table.get(version_key(key, message_id))
        if item is None or not is_of_coach(as_record(item.get("attributes")), key):
            return None
        return message_of(item)

    async def mark_handed_off(self, key: ConversationKey, message_id: str) -> None:
        """Mark a stored message: one write, or two for one whose reply is not stored yet (see `RunStore`)."""
        for where in (message_key, version_key):
            change = Update(where(key, message_id), f"SET #{HANDED_OFF} = :yes", IS_THERE, {":yes": True})
            with suppress(ConditionFailed):  # pending, or deleted in the meantime, and stays deleted
                await self._table.change(change)
                return

    async def find_recent_message(
        self, key: ConversationKey, text: str, *, since: datetime
    ) -> Message | None:
        """The newest user message with exactly this text (see `RunStore`)."""
        try:
            conversation_key(key)
        except ConversationNotFound:
            return None
        prefix = messages_prefix(key)
        first = f"{prefix}{first_message_id(since)}"
        found = self._table.query(
            Range(partition(key.user_id), first, end_of(prefix), newest_first=True),
            where=(
                "#attributes.#role = :user AND #attributes.#content = :text AND #attributes.#coachId = :coach"
            ),
            values={":user": Role.USER.value, ":text": text, ":coach": key.coach_id},
            consistent=True,
        )
        async for item in found:
            message = message_of(item)
            if message is not None:
                return message
        return None

    async def _despite(
        self,
        cancelled: TransactionCancelled,
        there: UnfinishedRun | None,
        key: ConversationKey,
        user_message: Message,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy | None:
        """The result of a first attempt whose conditions failed; None if it may be repeated."""
        if not cancelled.failed & {Step.MESSAGE, Step.CLAIM}:
            return _busy(cancelled, there, None)
        stored = await self._stored(cancelled, key, user_message)
        if stored is None:
            return None
        indexed = await self._reply_index.load(key, stored.id)
        reply = await self._complete_reply(key, indexed)
        if reply is not None:
            return AlreadyAnswered(stored, reply)
        if there is None or there.queue.first_run_id is None:
            looked_up = there is not None and there.newest_id is None
            # The new message's id was greater than all others, unless that condition failed.
            newest = await newest_id(self._table, key) if looked_up else user_message.id
            if there is not None and there.newest_id is not None:
                newest = there.newest_id
            bound = bound_after(newest)
            first = as_stored(opened, stored.id, is_first_attempt=False, newest_id=bound)
            writes = self._another_attempt(key, stored, indexed, run_id, first)
            writes[Step.UNFINISHED_RUN] = taking(key, run_id, bound, looked_up=looked_up)
            writes |= taking_quota(key, quotas, opened_at(opened))
            try:
                await self._transact(key, writes)
            except TransactionCancelled as again:
                cancelled, there = again, await self._unfinished_run_there(again, key)
                if there is None:
                    await self._quotas.make_room(again, key, quotas, opened_at(opened))
            else:
                return RunBegun(stored, is_first_attempt=False, at=opened_at(first))
        return _busy(cancelled, there, stored)

    async def _complete_reply(self, key: ConversationKey, indexed: IndexedReply | None) -> Message | None:
        """The complete reply to a message, also if another message has replaced that.

        Raises:
            NotTheLastExchange: another message has replaced one that has no complete reply.
        """
        if indexed is None:
            return None
        reply = await self.load_message(key, indexed.reply_id) if indexed.is_complete else None
        if reply is None and indexed.is_replaced:
            raise NotTheLastExchange
        return reply

    async def _unfinished_run_there(
        self, cancelled: TransactionCancelled, key: ConversationKey
    ) -> UnfinishedRun | None:
        """The unfinished-run item that prevented a run from beginning; None if it did not.

        Raises:
            ConversationNotFound: the conversation is being deleted.
        """
        if Step.UNFINISHED_RUN not in cancelled.failed:
            return None
        item = cancelled.existing.get(Step.UNFINISHED_RUN) or await self._table.get(unfinished_run_key(key))
        there = unfinished_run_in(item, key)
        if there.is_deleted:
            raise ConversationNotFound
        return there

    def _first_attempt(
        self, key: ConversationKey, message: Message, run_id: str, opened: LogEntry, *, looked_up: bool
    ) -> dict[str, Write]:
        first = as_stored(opened, message.id, is_first_attempt=True, newest_id=message.id)
        return {
            **self._saving_new(key, message),
            Step.UNFINISHED_RUN: taking(key, run_id, message.id, looked_up=looked_up),
            Step.ENTRY: self._logs.put_entry(key, run_id, first),
        }

    def _saving_new(self, key: ConversationKey, message: Message) -> dict[str, Write]:
        """The writes that save a user message once."""
        writes: dict[str, Write] = {
            Step.CONVERSATION: self._counting(key, message, added=1),
            Step.MESSAGE: Put(
                message_item(key, message, at=self._now()), IS_NOT_THERE, returns_existing=True
            ),
        }
        client_id = message.metadata.client_message_id
        if client_id is not None:
            claim = {"messageId": message.id, "ttl": expiry(self._now() + RETRIES_KNOWN_FOR)}
            writes[Step.CLAIM] = Put(
                item_of(message_claim_key(key, client_id), claim), IS_NOT_THERE, returns_existing=True
            )
        return writes

    def _another_attempt(
        self,
        key: ConversationKey,
        message: Message,
        indexed: IndexedReply | None,
        run_id: str,
        first: LogEntry,
    ) -> dict[str, Write]:
        return {
            Step.CONVERSATION: ConditionCheck(conversation_key(key), IS_THERE),
            Step.REPLY_INDEX: self._reply_index.check_unchanged(key, message.id, indexed),
            Step.ENTRY: self._logs.put_entry(key, run_id, first),
        }

    async def _finish(
        self,
        key: ConversationKey,
        run_id: str,
        ended: LogEntry,
        reply: Message | None,
        spent: Spent | None,
        another_try: AnotherTry | None,
    ) -> LogEntry | None:
        """Finish the run; return None on success, else the existing entry with the number."""
        is_continued = another_try is not None and another_try.continued_id is not None
        free: Write | None = freeing(key, run_id, None if is_continued else reply, spent)
        earlier: IndexedReply | None = None
        for _ in range(MOST_ATTEMPTS):
            writes: dict[str, Write] = {
                Step.ENTRY: self._logs.put_entry(key, run_id, ended),
                **await self._saving(key, reply, earlier, another_try),
                **using_up(key.user_id, spent),
            }
            if free is not None:
                writes[Step.UNFINISHED_RUN] = free
            try:
                await self._transact(key, writes)
            except TransactionCancelled as cancelled:
                if Step.ENTRY in cancelled.failed:
                    found = cancelled.existing.get(Step.ENTRY)
                    there = await self._logs.entry_there(found, key, run_id, ended.number)
                    if there is not None:
                        return there
                if Step.UNFINISHED_RUN in cancelled.failed:
                    free = await self._otherwise_free(cancelled, key, run_id, spent)
                if Step.MESSAGE in cancelled.failed and another_try is None:
                    reply = None  # it is already stored and counted
                elif Step.REPLY_INDEX in cancelled.failed:
                    earlier = await self._indexed_reply_there(cancelled, key, reply)
            else:
                return None
        raise Contended("a run could not be finished because of contention with other writers")

    async def _otherwise_free(
        self, cancelled: TransactionCancelled, key: ConversationKey, run_id: str, spent: Spent | None
    ) -> Write | None:
        """The write that releases the conversation if the usual one failed; None if the run does not hold it.

        Raises:
            ConversationNotFound: the conversation is being deleted.
            RunNotFound: the run is not the conversation's unfinished one.
        """
        item = cancelled.existing.get(Step.UNFINISHED_RUN) or await self._table.get(unfinished_run_key(key))
        there = unfinished_run_in(item, key)
        if there.is_deleted:
            raise ConversationNotFound
        if there.run_id == run_id:
            if there.newest_id is not None:
                return freeing(key, run_id, None, spent)  # other messages wait
            return forgetting(key, run_id)  # begun by an earlier version, which did not store the newest id
        if item is not None and not is_of_coach(item, key):
            return None
        raise RunNotFound

    async def _saving(
        self,
        key: ConversationKey,
        reply: Message | None,
        earlier: IndexedReply | None,
        another_try: AnotherTry | None,
    ) -> Mapping[str, Write]:
        """The writes that save a reply, given the message's earlier one, if any."""
        if reply is None:
            return {Step.CONVERSATION: ConditionCheck(conversation_key(key), IS_THERE)}
        if another_try is not None:
            counting = self._counting(key, reply, added=int(another_try.reply_id is None))
            return {Step.CONVERSATION: counting, **await self._tries.finishing(key, another_try, reply)}
        is_replaced = earlier is not None and not earlier.is_complete and earlier.reply_id != reply.id
        writes: dict[str, Write] = {
            Step.CONVERSATION: self._counting(key, reply, added=0 if is_replaced else 1),
            Step.MESSAGE: Put(message_item(key, reply, at=self._now()), IS_NOT_THERE),
        }
        if earlier is not None and is_replaced:
            writes[Step.REPLACED] = Delete(message_key(key, earlier.reply_id))
        user_message_id = reply.metadata.reply_to
        if user_message_id is not None and (earlier is None or earlier.yields_to(reply)):
            writes[Step.REPLY_INDEX] = self._reply_index.put_if_unchanged(
                key, user_message_id, reply, earlier
            )
        return writes

    async def _transact(self, key: ConversationKey, writes: Mapping[str, Write]) -> None:
        """Execute one transaction on a conversation; repair the counter if it cannot be incremented.

        Raises:
            ConversationNotFound: as named.
            TransactionCancelled: another condition failed.
        """
        try:
            await self._transact_once(writes)
        except (RequestRefused, TransactionCancelled) as refusal:
            if isinstance(refusal, TransactionCancelled) and not refusal.refused:
                raise
            await repair_counter(self._table, conversation_key(key), "totalMessages", counted_list="messages")
            await self._transact_once(writes)

    async def _transact_once(self, writes: Mapping[str, Write]) -> None:
        try:
            await self._table.transact(writes)
        except TransactionCancelled as cancelled:
            if Step.CONVERSATION in cancelled.failed:
                raise ConversationNotFound from None
            raise

    def _counting(self, key: ConversationKey, last: Message, *, added: int) -> Update:
        return Update(
            conversation_key(key),
            "SET #attributes.#metadata.#totalMessages = #attributes.#metadata.#totalMessages + :added,"
            " #attributes.#metadata.#lastActivity = :last, #updatedAt = :now",
            IS_THERE,
            {
                ":added": added,
                ":last": format_timestamp(last.timestamp),
                ":now": format_timestamp(self._now()),
            },
        )

    async def _stored(
        self, cancelled: TransactionCancelled, key: ConversationKey, message: Message
    ) -> Message | None:
        """The message as saved by an earlier attempt.

        Raises:
            IdempotencyMismatch: it has another text, or its idempotency key is that of another try.
            MessageWithdrawn: it was deleted.
        """
        message_id, client_id = message.id, message.metadata.client_message_id
        if Step.CLAIM in cancelled.failed and client_id is not None:
            claim = cancelled.existing.get(Step.CLAIM)
            claim = claim or await self._table.get(message_claim_key(key, client_id)) or {}
            if claim.get(WITHDRAWN) is True:
                raise MessageWithdrawn
            message_id = as_text(claim.get("messageId")) or message_id
            if is_key_of_try(claim) and not await self._has_replaced(key, claim):
                raise IdempotencyMismatch
        item = cancelled.existing.get(Step.MESSAGE)
        if item is not None and message_id == message.id:
            stored = message_of(item)
        else:
            stored = await self.load_message(key, message_id)
        if stored is not None:
            require_same_text(stored, message)
        return stored

    async def _has_replaced(self, key: ConversationKey, claim: Mapping[str, object]) -> bool:
        """Whether a try's message has replaced another one: it can be sent again like any other."""
        where = message_key(key, as_text(claim.get("messageId")))
        return claim.get("kind") == TryKind.REPLACE and await self._table.get(where) is not None

    async def _indexed_reply_there(
        self, cancelled: TransactionCancelled, key: ConversationKey, reply: Message | None
    ) -> IndexedReply | None:
        """The indexed reply that caused the conflict: as DynamoDB returned it, or else read."""
        item = cancelled.existing.get(Step.REPLY_INDEX)
        if item is not None:
            return indexed_reply_in(item)
        user_message_id = None if reply is None else reply.metadata.reply_to
        return None if user_message_id is None else await self._reply_index.load(key, user_message_id)


def _busy(
    cancelled: TransactionCancelled, there: UnfinishedRun | None, stored: Message | None
) -> ConversationBusy | None:
    """The run that blocks the new one; None if the cause may be gone.

    Raises:
        StorageUnavailable: a log of a run with the same id exists, so that no retry can succeed.
    """
    if there is not None:
        first = there.queue.first_run_id
        return None if first is None else ConversationBusy(first, stored, there.queued)
    if Step.ENTRY in cancelled.failed:
        raise StorageUnavailable("a log of a run with this id already exists")
    return None
