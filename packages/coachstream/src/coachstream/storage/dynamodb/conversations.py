"""Conversations: create, list, read, rename, delete."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta

from coachstream.conversation.errors import CoachConfigNotFound, ConversationNotFound
from coachstream.conversation.model import (
    Conversation,
    ConversationChange,
    ConversationKey,
    Message,
    format_timestamp,
)
from coachstream.conversation.ports import NewSummary
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.storage.dynamodb.counter_repair import repair_counter
from coachstream.storage.dynamodb.errors import ConditionFailed, Contended, RequestRefused
from coachstream.storage.dynamodb.history import all_messages, newest_messages
from coachstream.storage.dynamodb.items import (
    LATER_ATTRIBUTES,
    SUMMARY,
    conversation_item,
    envelope,
    expiry,
    parse_conversation,
)
from coachstream.storage.dynamodb.keys import (
    ItemKey,
    coach_key,
    conversation_key,
    conversations_prefix,
    logs_prefix,
    message_claims_prefix,
    messages_prefix,
    partition,
    reply_index_prefix,
    summary_key,
    unfinished_run_key,
    versions_prefix,
)
from coachstream.storage.dynamodb.quotas import spent_in
from coachstream.storage.dynamodb.requests import (
    IS_NOT_THERE,
    IS_THERE,
    ConditionCheck,
    Delete,
    Put,
    Update,
    Write,
)
from coachstream.storage.dynamodb.run_logs import RunLogs
from coachstream.storage.dynamodb.table_client import Range, Step, TableClient, TransactionCancelled
from coachstream.storage.dynamodb.unfinished_runs import (
    clearing,
    deleting,
    having_no_messages,
    unfinished_run_in,
)
from coachstream.storage.summary_attributes import summary_attributes

MOST_ATTEMPTS = 10
"""The maximum number of attempts to end a run that keeps writing, about twice a second."""

SPENT_KEPT_FOR = timedelta(days=2)
"""How long the tokens of a deleted conversation are kept: they count for a day."""

_WITHOUT_MESSAGES = ", ".join(
    (
        *("#sk", "#createdAt", "#attributes.#title", "#attributes.#metadata"),
        *(f"#attributes.#{name}" for name in LATER_ATTRIBUTES),
    )
)
"""A projection does not reduce read capacity, but it does reduce transfer and decoding."""

_HAS_DEFAULT_TITLE = (
    "(attribute_not_exists(#attributes.#title) OR #attributes.#title IN (:default, :empty)"
    " OR attribute_type(#attributes.#title, :null))"
)

_TOTAL_MESSAGES = "#attributes.#metadata.#messageRange.#totalMessages"
_LAST_MESSAGE = "#attributes.#metadata.#messageRange.#endMessageId"
_IS_OLDER = (
    f"NOT attribute_type({_TOTAL_MESSAGES}, :number) OR {_TOTAL_MESSAGES} < :count"
    f" OR ({_TOTAL_MESSAGES} = :count AND {_LAST_MESSAGE} < :last)"
)
"""Also true if there is no summary, or one that does not say of how many messages."""


class DynamoDbConversations:
    """`ConversationStore`."""

    def __init__(self, table: TableClient, *, now: Callable[[], datetime]) -> None:
        self._table = table
        self._logs = RunLogs(table, now=now)
        self._now = now

    async def create_conversation(self, conversation: Conversation) -> None:
        """Save a new conversation and increment its coach's count; an existing one is left unchanged."""
        coach = coach_key(conversation.key.user_id, conversation.key.coach_id)
        now = self._now()
        writes: dict[str, Write] = {
            Step.COACH: Update(
                coach,
                "SET #attributes.#metadata.#total_conversations ="
                " #attributes.#metadata.#total_conversations + :one, #updatedAt = :now",
                IS_THERE,
                {":one": 1, ":now": format_timestamp(now)},
            ),
            Step.CONVERSATION: Put(conversation_item(conversation, at=now), IS_NOT_THERE),
            Step.UNFINISHED_RUN: having_no_messages(conversation.key),
        }
        try:
            try:
                await self._table.transact(writes)
            except (RequestRefused, TransactionCancelled) as refusal:
                if isinstance(refusal, TransactionCancelled) and not refusal.refused:
                    raise
                await repair_counter(self._table, coach, "total_conversations")
                await self._table.transact(writes)
        except TransactionCancelled as cancelled:
            if Step.COACH in cancelled.failed:
                raise CoachConfigNotFound from None

    async def list_conversations(self, user_id: str, coach_id: str) -> Sequence[Conversation]:
        """All conversations, most recent activity first."""
        try:
            coach_key(user_id, coach_id)
        except CoachConfigNotFound:
            return []
        prefix = conversations_prefix(coach_id)
        found = self._table.query(
            Range.of(partition(user_id), prefix), only=_WITHOUT_MESSAGES, consistent=True
        )
        conversations = [
            parse_conversation(
                ConversationKey(user_id, coach_id, str(item.get("sk")).removeprefix(prefix)), item
            )
            async for item in found
        ]
        return sorted(
            conversations, key=lambda each: (each.last_activity, each.key.conversation_id), reverse=True
        )

    async def get_conversation(self, key: ConversationKey) -> Conversation:
        """The conversation without its messages. Raises `ConversationNotFound`."""
        item = await self._table.get(conversation_key(key), only=_WITHOUT_MESSAGES)
        if item is None:
            raise ConversationNotFound
        return parse_conversation(key, item)

    async def load_messages(self, key: ConversationKey) -> Sequence[Message]:
        """All messages, oldest first; none for an unknown conversation."""
        try:
            item = await self._table.get(conversation_key(key), only="#pk, #attributes.#messages")
        except ConversationNotFound:
            return []
        return [] if item is None else await all_messages(self._table, key, item)

    async def load_newest(
        self, key: ConversationKey, *, limit: int, before: str | None = None
    ) -> Sequence[Message]:
        """The newest messages, of those before a given one (see `ConversationStore`).

        Reads the conversation's item, and no more message items than needed.
        """
        return await newest_messages(self._table, key, limit=limit, before=before)

    async def change_conversation(self, key: ConversationKey, change: ConversationChange) -> Conversation:
        """Change only the given fields and return the result. Raises `ConversationNotFound`."""
        given = {
            "#attributes.#title": change.title,
            "#attributes.#metadata.#tags": change.tags,
            "#attributes.#metadata.#isActive": change.is_active,
        }
        changed = {path: value for path, value in given.items() if value is not None}
        item_key = conversation_key(key)
        assignments = [f"{path} = :value{number}" for number, path in enumerate(changed)]
        values = {f":value{number}": value for number, value in enumerate(changed.values())}
        update = Update(
            item_key,
            f"SET {', '.join([*assignments, '#updatedAt = :now'])}",
            IS_THERE,
            {**values, ":now": format_timestamp(self._now())},
        )
        try:
            try:
                item = await self._table.update(update)
            except RequestRefused:
                await repair_counter(self._table, item_key, "totalMessages", counted_list="messages")
                item = await self._table.update(update)
        except ConditionFailed:
            raise ConversationNotFound from None
        return parse_conversation(key, item)

    async def replace_default_title(self, key: ConversationKey, title: str) -> bool:
        """Give a conversation a title if it still has the default one or none (see `ConversationStore`)."""
        try:
            item_key = conversation_key(key)
        except ConversationNotFound:
            return False
        update = Update(
            item_key,
            "SET #attributes.#title = :title, #updatedAt = :now",
            f"{IS_THERE} AND {_HAS_DEFAULT_TITLE}",
            {
                ":title": title,
                ":now": format_timestamp(self._now()),
                ":default": DEFAULT_TITLE,
                ":empty": "",
                ":null": "NULL",
            },
        )
        try:
            await self._table.change(update)
        except ConditionFailed:
            return False
        return True

    async def save_summary(self, key: ConversationKey, summary: NewSummary) -> bool:
        """Save a summary in place of one of fewer messages (see `ConversationStore`)."""
        item = envelope(summary_key(key), SUMMARY, summary_attributes(key, summary), at=self._now())
        values = {":count": summary.total_messages, ":number": "N", ":last": summary.last_message_id}
        writes: dict[str, Write] = {
            Step.CONVERSATION: ConditionCheck(conversation_key(key), IS_THERE),
            Step.SUMMARY: Put(item, _IS_OLDER, values),
        }
        try:
            await self._table.transact(writes)
        except TransactionCancelled as cancelled:
            if Step.CONVERSATION in cancelled.failed:
                raise ConversationNotFound from None
            return False
        return True

    async def delete_conversation(self, key: ConversationKey) -> None:
        """Delete the conversation with its messages, runs and summary. Raises `ConversationNotFound`.

        First, a tombstone ends the unfinished run, and no run can begin or finish any more. The
        conversation's own item is deleted last, so that an interrupted deletion can be repeated. Only the
        tombstone, which has no content of the conversation, remains until it expires: a lease holder that
        writes without reading finds it in place of its next entry. Entries it wrote concurrently, and a
        summary that arrived meanwhile, are deleted in a second pass.
        """
        item_key = conversation_key(key)
        tombstone_key, keeps_spent = await self._end_run(key)
        await self._table.delete_all(self._all_of(key, but=tombstone_key))
        try:
            await self._table.transact(
                {
                    Step.CONVERSATION: Delete(item_key, IS_THERE),
                    Step.UNFINISHED_RUN: clearing(
                        key, keeps_spent=keeps_spent, ttl=expiry(self._now() + SPENT_KEPT_FOR)
                    ),
                }
            )
        except TransactionCancelled:
            raise ConversationNotFound from None
        await self._table.delete_all(self._all_of(key, but=tombstone_key))

    async def _end_run(self, key: ConversationKey) -> tuple[str | None, bool]:
        """Block new runs and end the unfinished one.

        Returns:
            The sort key of its tombstone, and whether the conversation's runs have spent something.

        Raises:
            ConversationNotFound: the conversation does not exist.
            Contended: the run kept writing.
        """
        is_there = ConditionCheck(conversation_key(key), IS_THERE)
        for _ in range(MOST_ATTEMPTS):
            found = await self._table.get(unfinished_run_key(key))
            unfinished = unfinished_run_in(found, key)
            writes: dict[str, Write] = {Step.CONVERSATION: is_there}
            if unfinished.is_deleted:
                tombstone_key = unfinished.tombstone  # of an interrupted attempt
            elif unfinished.run_id is None:
                tombstone_key = None
                writes[Step.UNFINISHED_RUN] = deleting(key, None, None)
            else:
                end = await self._logs.put_tombstone(key, unfinished.run_id, secrets.token_hex(8))
                tombstone_key = None if end is None else str(end.item["sk"])
                writes[Step.UNFINISHED_RUN] = deleting(key, unfinished.run_id, tombstone_key)
                if end is not None:
                    writes[Step.ENTRY] = end
            try:
                await self._table.transact(writes)
            except TransactionCancelled as cancelled:
                if Step.CONVERSATION in cancelled.failed:
                    raise ConversationNotFound from None
            else:
                return tombstone_key, found is not None and spent_in(found)
        raise Contended("a conversation could not be deleted because of contention: its run kept writing")

    async def _all_of(self, key: ConversationKey, *, but: str | None) -> AsyncIterator[ItemKey]:
        """The keys of a conversation's items, except its own item, its unfinished-run item, and a tombstone.

        Claims come before messages: a claim whose message is gone would mislead a retry.
        """
        yield summary_key(key)
        pk = partition(key.user_id)
        prefixes = (message_claims_prefix, reply_index_prefix, messages_prefix, versions_prefix, logs_prefix)
        for prefix in prefixes:
            found = self._table.query(Range.of(pk, prefix(key)), only="#sk", consistent=True)
            async for item in found:
                if item["sk"] != but:
                    yield ItemKey(pk, str(item["sk"]))
