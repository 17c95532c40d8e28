"""Other tries at the last exchange, and the older versions that they leave.

**Beginning** reads the last exchange, the unfinished-run item and the attempt's claim, decides, and writes on
the condition that all of it is unchanged: every message and every choice changes the newest id in the
unfinished-run item, and what the existing functions add changes the length of their list. If something
changed, it reads again. The claim of an attempt has its run, so the same attempt finds it. A message that
replaces another one is put where older messages are, and marked as pending.

**Finishing** puts the new version into the conversation, and what it replaces among the older messages, in
the transaction that ends the run. Only the run that has the conversation moves messages, so they are read
before. A reply that is continued keeps its item.

**Choosing** swaps two versions in one transaction, on the same conditions as beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from coachstream.conversation.another_try import (
    MOST_VERSIONS,
    AnotherTry,
    LastExchange,
    Surroundings,
    TryKind,
    TryRequest,
    Version,
    last_exchange,
    replacing,
    surplus,
    surroundings_of,
    versions_of,
)
from coachstream.conversation.errors import (
    ConversationNotFound,
    IdempotencyMismatch,
    NotTheLastExchange,
    TryInProgress,
)
from coachstream.conversation.model import ConversationKey, Message
from coachstream.conversation.prompt.records import as_record, as_text
from coachstream.conversation.quotas import QuotaLimits
from coachstream.conversation.run_log import Broken, Finished, LogEntry
from coachstream.conversation.run_store import AlreadyAnswered, ConversationBusy, RunBegun
from coachstream.storage.dynamodb.attribute_values import Item
from coachstream.storage.dynamodb.errors import Contended
from coachstream.storage.dynamodb.history import embedded_messages, merged, newest_id
from coachstream.storage.dynamodb.items import (
    HANDED_OFF,
    MESSAGE,
    RETRIES_KNOWN_FOR,
    expiry,
    message_item,
    message_of,
)
from coachstream.storage.dynamodb.keys import (
    ItemKey,
    conversation_key,
    is_name,
    message_claim_key,
    message_key,
    messages_prefix,
    partition,
    unfinished_run_key,
    version_key,
    versions_prefix,
)
from coachstream.storage.dynamodb.log_items import is_of_coach
from coachstream.storage.dynamodb.quotas import Quotas
from coachstream.storage.dynamodb.quotas import taking as taking_quota
from coachstream.storage.dynamodb.reply_index import ReplyIndex
from coachstream.storage.dynamodb.requests import (
    IS_NOT_THERE,
    IS_THERE,
    ConditionCheck,
    Delete,
    Put,
    Write,
    item_of,
)
from coachstream.storage.dynamodb.run_logs import RunLogs
from coachstream.storage.dynamodb.table_client import Range, Step, TableClient, TransactionCancelled
from coachstream.storage.dynamodb.unfinished_runs import (
    UnfinishedRun,
    bound_after,
    noting_choice,
    taking_after,
    unfinished_run_in,
)
from coachstream.storage.idempotency import require_same_text
from coachstream.storage.log_entries import as_stored, continuing, opened_at

MOST_ATTEMPTS = 6
"""The maximum number of attempts to begin or choose while others change the conversation."""

_PENDING = "isPending"


class Chosen(msgspec.Struct, frozen=True):
    """A version that was chosen, for the mirror: its reply, and the messages that it takes the place of."""

    reply: Message
    older_ids: tuple[str, ...]


class _Seen(msgspec.Struct, frozen=True):
    """What an attempt has read, and the condition that the existing functions have not changed it."""

    last: LastExchange | None
    unfinished: UnfinishedRun
    claim: Mapping[str, object] | None
    unchanged: ConditionCheck


class Tries:
    """The other tries in one table."""

    def __init__(
        self,
        table: TableClient,
        reply_index: ReplyIndex,
        logs: RunLogs,
        quotas: Quotas,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._table = table
        self._reply_index = reply_index
        self._logs = logs
        self._quotas = quotas
        self._now = now

    async def begin(
        self,
        key: ConversationKey,
        request: TryRequest,
        user_message: Message | None,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        """Open a run (see `RunStore.begin_try`)."""
        for _ in range(MOST_ATTEMPTS):
            seen = await self._look(key, request.client_message_id)
            stored = await self._earlier(key, request, user_message, seen)
            if isinstance(stored, AlreadyAnswered | ConversationBusy):
                return stored
            first_run_id = seen.unfinished.queue.first_run_id
            if first_run_id is not None:
                return ConversationBusy(first_run_id, None, seen.unfinished.queued)
            begun, writes = await self._beginning(key, request, user_message, run_id, opened, seen, stored)
            writes |= taking_quota(key, quotas, opened_at(opened))
            try:
                await self._table.transact(writes)
            except TransactionCancelled as cancelled:
                await self._quotas.make_room(cancelled, key, quotas, opened_at(opened))
            else:
                return begun
        raise Contended("another try could not begin because of contention with other runs")

    async def _beginning(
        self,
        key: ConversationKey,
        request: TryRequest,
        user_message: Message | None,
        run_id: str,
        opened: LogEntry,
        seen: _Seen,
        stored: Message | None,
    ) -> tuple[RunBegun, dict[str, Write]]:
        """The run as it begins, and the writes that begin it, if all is as it was seen.

        Raises:
            NotTheLastExchange, CannotContinue: as `TryRequest.begin`.
        """
        another = request.begin(seen.last)
        assert seen.last is not None  # noqa: S101 (for the type checker)
        known = seen.unfinished.newest_id
        newest = known or await newest_id(self._table, key)
        bound, message = bound_after(newest), stored or seen.last.user_message
        writes: dict[str, Write] = {}
        if user_message is not None and stored is None:
            message = replacing(user_message, message, newest)
            bound = message.id
            writes[Step.MESSAGE] = self._pending(key, message)
        first = as_stored(*(opened, message.id), is_first_attempt=False, newest_id=bound, another_try=another)
        continued = seen.last.reply if another.continued_id is not None else None
        said = "" if continued is None else continued.content
        for entry in (first, *continuing(first, said)):
            writes[f"{Step.ENTRY} {entry.number}"] = self._logs.put_entry(key, run_id, entry)
        writes |= {
            Step.CONVERSATION: seen.unchanged,
            Step.CLAIM: self._claim(key, request, message, run_id, seen.claim),
            Step.UNFINISHED_RUN: taking_after(key, run_id, bound, known=known),
        }
        return RunBegun(message, False, opened_at(first), another, said), writes

    async def finishing(
        self, key: ConversationKey, another: AnotherTry, reply: Message
    ) -> Mapping[str, Write]:
        """The writes that make a reply's version the chosen one."""
        is_there = IS_NOT_THERE if another.continued_id is None else IS_THERE
        writes: dict[str, Write] = {Step.MESSAGE: Put(message_item(key, reply, at=self._now()), is_there)}
        items = list(filter(None, await self._items(key, another.older_ids, message_key)))
        for item in items:
            writes |= _moving_out(key, item)
        user_message_id = reply.metadata.reply_to or ""
        writes[Step.REPLY_INDEX] = self._reply_index.put(key, user_message_id, reply)
        if another.kind is TryKind.REPLACE:
            [pending] = await self._items(key, (user_message_id,), version_key)
            if pending is not None:
                writes |= _moving_in(key, pending)
            replies = [each for each in map(message_of, items) if each and each.id == another.reply_id]
            writes["replaced index"] = self._reply_index.put(
                key, another.user_message_id, replies[0] if replies else None, is_replaced=True
            )
        if reply.metadata.versions == MOST_VERSIONS and another.continued_id is None:
            for each in await self._surplus(key, another):
                # The version that gives way can be the oldest one itself.
                if writes.pop(f"older {each.id}", None) is None:
                    writes[f"dropped {each.id}"] = Delete(version_key(key, each.id))
        return writes

    async def choose(self, key: ConversationKey, reply_id: str, version_id: str) -> Chosen | None:
        """Swap the last exchange's version (see `RunStore.choose_version`); None if it is the chosen one."""
        for _ in range(MOST_ATTEMPTS):
            seen = await self._look(key, None)
            first_run_id = seen.unfinished.queue.first_run_id
            if first_run_id is not None:
                raise TryInProgress(first_run_id)
            last = seen.last
            if last is None or last.reply is None or last.reply.id != reply_id:
                raise NotTheLastExchange
            version = await self._version(key, last, version_id)
            if version.is_chosen:
                return None
            users = (last.user_message.id, version.user_message.id)
            older = (reply_id, *(users[:1] if users[0] != users[1] else ()))
            newer = (version_id, *(users[1:] if users[0] != users[1] else ()))
            leaving = await self._items(key, older, message_key)
            coming = await self._items(key, newer, version_key)
            if None in (*leaving, *coming):
                continue
            writes: dict[str, Write] = {Step.CONVERSATION: seen.unchanged}
            for item in filter(None, leaving):
                writes |= _moving_out(key, item)
            for item in filter(None, coming):
                writes |= _moving_in(key, item, versions=last.reply.metadata.versions)
            if users[0] != users[1]:
                writes["replaced index"] = self._reply_index.put(key, users[0], last.reply, is_replaced=True)
            writes[Step.REPLY_INDEX] = self._reply_index.put(key, users[1], version.reply)
            known = seen.unfinished.newest_id
            newest = bound_after(known or await newest_id(self._table, key))
            writes[Step.UNFINISHED_RUN] = noting_choice(key, newest, known=known)
            try:
                await self._table.transact(writes)
            except TransactionCancelled:
                continue
            assert version.reply is not None  # noqa: S101 (for the type checker)
            return Chosen(_with_versions(version.reply, last.reply.metadata.versions), older)
        raise Contended("a version could not be chosen because of contention with other writers")

    async def versions(self, key: ConversationKey, message_id: str) -> list[Version]:
        """The versions of a message's exchange, oldest first."""
        try:
            conversation_key(key)
        except ConversationNotFound:
            return []
        around = await self._around(key, message_id)
        return [] if around is None else versions_of(around.chosen, await self._older(key, around))

    async def _look(self, key: ConversationKey, client_message_id: str | None) -> _Seen:
        """Read what an attempt depends on.

        Raises:
            ConversationNotFound: there is no such conversation, or it is being deleted.
        """
        item_key = conversation_key(key)
        newest = Range.of(partition(key.user_id), messages_prefix(key), newest_first=True)
        conversation, turn, (page, _), claim = await asyncio.gather(
            self._table.get(item_key, only="#pk, #attributes.#messages"),
            self._table.get(unfinished_run_key(key)),
            self._table.query_page(newest, limit=2),
            _none()
            if client_message_id is None
            else self._table.get(message_claim_key(key, client_message_id)),
        )
        unfinished = unfinished_run_in(turn, key)
        if conversation is None or unfinished.is_deleted:
            raise ConversationNotFound
        items = [message for message in map(message_of, page) if message is not None]
        line = merged(embedded_messages(conversation), items)[-2:]
        last = last_exchange(line)
        own = {message.id for message in items}
        used = () if last is None else (last.user_message, last.reply)
        if any(message is not None and message.id not in own for message in used):
            last = None  # the existing functions wrote it
        embedded = as_record(conversation.get("attributes")).get("messages")
        condition, values = f"{IS_THERE} AND attribute_not_exists(#attributes.#messages)", {}
        if isinstance(embedded, list):
            condition = f"{IS_THERE} AND size(#attributes.#messages) = :length"
            values = {":length": len(embedded)}
        elif embedded is not None:
            condition = IS_THERE
        return _Seen(last, unfinished, claim, ConditionCheck(item_key, condition, values))

    async def _earlier(
        self, key: ConversationKey, request: TryRequest, user_message: Message | None, seen: _Seen
    ) -> Message | AlreadyAnswered | ConversationBusy | None:
        """What an earlier attempt with the request's key has led to, or the run that is unfinished.

        A message is that of an attempt that failed.

        Raises:
            IdempotencyMismatch: the key was used for something else.
            NotTheLastExchange: the earlier attempt's result is not known any more.
        """
        claim, unfinished = seen.claim, seen.unfinished.run_id
        if claim is None:
            return None if unfinished is None else ConversationBusy(unfinished, None)
        if (claim.get("kind"), claim.get("of")) != (request.kind.value, request.message_id):
            raise IdempotencyMismatch
        stored = await self._message(key, as_text(claim.get("messageId")))
        if stored is None:
            raise NotTheLastExchange
        if user_message is not None:
            require_same_text(stored, user_message)
        run_id = as_text(claim.get("runId"))
        if unfinished is not None:
            return ConversationBusy(unfinished, stored if run_id == unfinished else None)
        reply = await self._reply_of(key, run_id, seen.last)
        return stored if reply is None else AlreadyAnswered(stored, reply)

    async def _reply_of(self, key: ConversationKey, run_id: str, last: LastExchange | None) -> Message | None:
        """The reply of an attempt's run; None if it failed.

        Raises:
            NotTheLastExchange: it is not known, or deleted.
        """
        entry = await self._logs.last(key, run_id)
        ending = None if entry is None else entry.content
        if isinstance(ending, Broken):
            return None
        reply = None if last is None else last.reply
        if isinstance(ending, Finished):
            reply = await self._message(key, ending.reply_id)
        elif reply is not None and reply.metadata.run_id != run_id:
            reply = None
        if reply is None:
            raise NotTheLastExchange
        return reply

    async def _version(self, key: ConversationKey, last: LastExchange, version_id: str) -> Version:
        for version in await self.versions(key, last.user_message.id):
            if version.has_whole_reply(version_id):
                return version
        raise NotTheLastExchange

    async def _around(self, key: ConversationKey, message_id: str) -> Surroundings | None:
        if not is_name(message_id):
            return None
        prefix = messages_prefix(key)
        before = Range(partition(key.user_id), prefix, prefix + message_id, newest_first=True)
        after = msgspec.structs.replace(Range.of(before.pk, prefix), first=prefix + message_id)
        (earlier, _), (later, _) = await asyncio.gather(
            self._table.query_page(before, limit=3), self._table.query_page(after, limit=3)
        )
        line = {message.id: message for message in _of_coach(key, (*earlier, *later))}
        return surroundings_of(message_id, [line[name] for name in sorted(line)])

    async def _older(self, key: ConversationKey, around: Surroundings) -> list[Message]:
        prefix = versions_prefix(key)
        span = Range.of(partition(key.user_id), prefix)
        span = msgspec.structs.replace(span, first=prefix + around.after)
        if around.before is not None:
            span = msgspec.structs.replace(span, last=prefix + around.before)
        items = [item async for item in self._table.query(span, consistent=True) if not item.get(_PENDING)]
        return around.older(_of_coach(key, items))

    async def _surplus(self, key: ConversationKey, another: AnotherTry) -> list[Message]:
        """The messages of the oldest version, if one is too many when the chosen one gives way."""
        around = await self._around(key, another.user_message_id)
        if around is None:
            return []
        leaving = around.chosen if another.kind is TryKind.REPLACE else around.chosen[1:]
        return surplus([*await self._older(key, around), *leaving], keep=MOST_VERSIONS - 1)

    async def _message(self, key: ConversationKey, message_id: str) -> Message | None:
        if not is_name(message_id):
            return None
        for where in (message_key, version_key):
            item = await self._table.get(where(key, message_id))
            if item is not None:
                return message_of(item)
        return None

    async def _items(
        self,
        key: ConversationKey,
        names: Sequence[str],
        where: Callable[[ConversationKey, str], ItemKey],
    ) -> list[Mapping[str, object] | None]:
        return await asyncio.gather(*(self._table.get(where(key, name)) for name in names))

    def _claim(
        self,
        key: ConversationKey,
        request: TryRequest,
        message: Message,
        run_id: str,
        known: Mapping[str, object] | None,
    ) -> Put:
        fields = {
            "messageId": message.id,
            "kind": request.kind.value,
            "of": request.message_id,
            "runId": run_id,
            "ttl": expiry(self._now() + RETRIES_KNOWN_FOR),
        }
        item = item_of(message_claim_key(key, request.client_message_id), fields)
        if known is None:
            return Put(item, IS_NOT_THERE)
        return Put(item, "#runId = :known", {":known": known.get("runId")})

    def _pending(self, key: ConversationKey, message: Message) -> Put:
        """The write that keeps a message that replaces another one, as long as its claim."""
        where = version_key(key, message.id)
        item = {**message_item(key, message, at=self._now()), "sk": where.sk, _PENDING: True}
        del item["entityType"]
        if message.metadata.is_handed_off:
            item[HANDED_OFF] = True
        item["ttl"] = expiry(self._now() + RETRIES_KNOWN_FOR)
        return Put(item, IS_NOT_THERE)


def is_key_of_try(claim: Mapping[str, object]) -> bool:
    """Whether an idempotency key is that of another try, not of a message that was sent."""
    return "kind" in claim


def _with_versions(reply: Message, versions: int) -> Message:
    metadata = msgspec.structs.replace(reply.metadata, versions=versions)
    return msgspec.structs.replace(reply, metadata=metadata)


def _moving_out(key: ConversationKey, item: Mapping[str, object]) -> dict[str, Write]:
    """The writes that move a message from the conversation to the older ones."""
    name = str(item["sk"]).rpartition("#")[2]
    moved: Item = {**item, "sk": version_key(key, name).sk}
    return {
        f"older {name}": Put({each: value for each, value in moved.items() if each != "entityType"}),
        f"left {name}": Delete(message_key(key, name), IS_THERE),
    }


def _moving_in(
    key: ConversationKey, item: Mapping[str, object], *, versions: int | None = None
) -> dict[str, Write]:
    """The writes that move a message from the older ones to the conversation; a reply with its new count."""
    name = str(item["sk"]).rpartition("#")[2]
    moved = {each: value for each, value in item.items() if each not in {_PENDING, "ttl"}}
    moved |= {"sk": message_key(key, name).sk, "entityType": MESSAGE}
    attributes = as_record(item.get("attributes"))
    metadata = as_record(attributes.get("metadata"))
    if versions and metadata.get("replyTo"):
        moved["attributes"] = {**attributes, "metadata": {**metadata, "versions": versions}}
    return {
        f"chosen {name}": Put(moved, IS_NOT_THERE),
        f"taken {name}": Delete(version_key(key, name), IS_THERE),
    }


def _of_coach(key: ConversationKey, items: Sequence[Mapping[str, object]]) -> list[Message]:
    own = [item for item in items if is_of_coach(as_record(item.get("attributes")), key)]
    return [message for message in map(message_of, own) if message is not None]


async def _none() -> None:
    return None
