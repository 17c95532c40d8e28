"""Turns: a user's message exactly once, and at most one live turn in a conversation.

Each step is one transaction, so that no crash leaves half of it.

**Beginning** puts the message and its claim (which message has this client's name), takes the lease, and
counts the message on the conversation. When the message is there already, its answer item tells without a
search whether it has a reply. A retry claims its turn on the condition that this has not changed since:
so an attempt that ends in between is not answered twice.

**Saving** puts the reply and the answer item, deletes the interrupted reply that it replaces, gives the lease
up and counts, on the condition that the lease still has this turn's token. The reply's own condition makes
saving it again harmless.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec

from coachstream.conversation.errors import (
    CoachStreamError,
    ConversationNotFound,
    StorageUnavailable,
    TurnInProgress,
)
from coachstream.conversation.lenient import as_text
from coachstream.conversation.message_id import first_message_id
from coachstream.conversation.model import ConversationKey, Message, Role, format_timestamp
from coachstream.conversation.ports import TurnClaim
from coachstream.storage.dynamodb.calls import Range, Step, TableCalls, TransactionCancelled
from coachstream.storage.dynamodb.errors import Contended, RequestRefused, UnusableTable
from coachstream.storage.dynamodb.items import message_item, message_of
from coachstream.storage.dynamodb.keys import (
    answer_key,
    conversation_key,
    end_of,
    message_claim_key,
    message_key,
    messages_prefix,
    partition,
)
from coachstream.storage.dynamodb.lease import TurnLeases
from coachstream.storage.dynamodb.mend import mend_counter
from coachstream.storage.dynamodb.mirror import Mirror
from coachstream.storage.dynamodb.requests import (
    IS_NOT_THERE,
    IS_THERE,
    Check,
    Delete,
    Put,
    Update,
    Write,
    item_of,
)

logger = logging.getLogger("coachstream.storage")

RETRIES_KNOWN_FOR = timedelta(days=30)
"""How long a client's name for a message, and which reply a message has, are remembered for retries."""

MOST_ATTEMPTS = 4
"""At beginning a turn while others begin and end the same one."""


class _Answer(msgspec.Struct, frozen=True):
    """What an answer item tells: the reply that a user message has."""

    reply_id: str
    is_complete: bool


class DynamoDbTurns:
    """`TurnStore`."""

    def __init__(
        self, calls: TableCalls, leases: TurnLeases, mirror: Mirror | None, *, now: Callable[[], datetime]
    ) -> None:
        self._calls = calls
        self._leases = leases
        self._mirror = mirror
        self._now = now
        self._clean_up: set[asyncio.Task[None]] = set()

    async def begin_turn(self, key: ConversationKey, user_message: Message) -> TurnClaim:
        """Save the user message exactly once and claim the conversation (see `TurnStore`)."""
        token = secrets.token_hex(16)
        beginning = asyncio.create_task(self._begin(key, user_message, token))
        try:
            # Not cancelled with its caller: what DynamoDB was asked to do it might still do, at any time.
            claim = await asyncio.shield(beginning)
        except (ConversationNotFound, TurnInProgress, Contended, RequestRefused, UnusableTable):
            raise
        except BaseException:
            # Cancelled, or the answer was lost: the lease may have been taken all the same.
            self._release_after(beginning, key, token)
            raise
        if claim.reply is None:
            self._leases.keep(key, token)
        return claim

    async def save_reply(self, claim: TurnClaim, reply: Message) -> None:
        """Save the reply and give up the claim (see `TurnStore`). Saving the same reply again does nothing.

        Raises:
            StorageUnavailable: also when the claim was given up or lost before.
        """
        try:
            await self._save(claim, reply)
        except ConversationNotFound:
            await self._leases.stop_renewing(claim.token)
            raise
        await self._leases.stop_renewing(claim.token)
        if self._mirror is not None:
            await self._mirror.show(claim.key, claim.user_message, reply)

    async def abandon_turn(self, claim: TurnClaim) -> None:
        """Give up the claim (see `TurnStore`)."""
        if claim.reply is None:
            await self._leases.release(claim.key, claim.token)

    async def abandon_all(self) -> None:
        """Give up every claim of this store, as far as that can be done; the rest run out."""
        await self._leases.release_all()
        await asyncio.gather(*self._clean_up, return_exceptions=True)

    async def find_streamed_message(
        self, key: ConversationKey, text: str, *, since: datetime
    ) -> Message | None:
        """The newest user message with this text whose reply was asked for as a stream (see `TurnStore`)."""
        try:
            conversation_key(key)
        except ConversationNotFound:
            return None
        prefix = messages_prefix(key)
        first = f"{prefix}{first_message_id(since)}"
        found = self._calls.query(
            Range(partition(key.user_id), first, end_of(prefix), newest_first=True),
            where=(
                "#attributes.#role = :user AND #attributes.#content = :text"
                " AND #attributes.#metadata.#streamed = :yes AND #attributes.#coachId = :coach"
            ),
            values={":user": Role.USER.value, ":text": text, ":yes": True, ":coach": key.coach_id},
            consistent=True,
        )
        async for item in found:
            message = message_of(item)
            if message is not None:
                return message
        return None

    async def _begin(self, key: ConversationKey, user_message: Message, token: str) -> TurnClaim:
        for _ in range(MOST_ATTEMPTS):
            try:
                await self._transact(key, self._first_attempt(key, user_message, token))
            except TransactionCancelled as cancelled:
                if not cancelled.failed & {Step.MESSAGE, Step.CLAIM}:
                    raise TurnInProgress from None
            else:
                return TurnClaim(key, user_message, None, token, is_first_attempt=True)
            claim = await self._begin_again(key, user_message, token)
            if claim is not None:
                return claim
        raise Contended("a turn could not begin, because others began and ended all the time")

    async def _begin_again(self, key: ConversationKey, user_message: Message, token: str) -> TurnClaim | None:
        """Claim a turn for a message that is stored; None where that is not so any more."""
        stored = await self._stored(key, user_message)
        if stored is None:
            return None
        answer = await self._answer(key, stored)
        if answer is not None and answer.is_complete:
            reply = await self._message(key, answer.reply_id)
            if reply is not None:
                return TurnClaim(key, stored, reply, token="", is_first_attempt=False)
        try:
            await self._transact(key, self._another_attempt(key, stored, answer, token))
        except TransactionCancelled as cancelled:
            if Step.ANSWER not in cancelled.failed:
                raise TurnInProgress from None
            return None
        return TurnClaim(key, stored, None, token, is_first_attempt=False)

    def _first_attempt(self, key: ConversationKey, message: Message, token: str) -> dict[Step, Write]:
        client_id = message.metadata.client_message_id
        writes: dict[Step, Write] = {
            Step.CONVERSATION: self._counting(key, message, added=1),
            Step.LEASE: self._leases.taking(key, token),
            Step.MESSAGE: Put(message_item(key, message, at=self._now()), IS_NOT_THERE),
        }
        if client_id is not None:
            claim = item_of(message_claim_key(key, client_id), {"messageId": message.id, "ttl": self._ttl()})
            writes[Step.CLAIM] = Put(claim, IS_NOT_THERE)
        return writes

    def _another_attempt(
        self, key: ConversationKey, message: Message, answer: _Answer | None, token: str
    ) -> dict[Step, Write]:
        where = answer_key(key, message.id)
        is_unchanged = (
            Check(where, IS_NOT_THERE)
            if answer is None
            else Check(where, "#replyId = :reply", {":reply": answer.reply_id})
        )
        return {
            Step.CONVERSATION: Check(conversation_key(key), IS_THERE),
            Step.LEASE: self._leases.taking(key, token),
            Step.ANSWER: is_unchanged,
        }

    async def _save(self, claim: TurnClaim, reply: Message) -> None:
        key, message = claim.key, claim.user_message
        # Only this turn writes the answer while it holds the lease, so what is read now stays true.
        earlier = None if claim.is_first_attempt else await self._answer(key, message)
        is_replaced = earlier is not None and not earlier.is_complete and earlier.reply_id != reply.id
        answer = {"replyId": reply.id, "isComplete": not reply.is_interrupted, "ttl": self._ttl()}
        writes: dict[Step, Write] = {
            Step.CONVERSATION: self._counting(key, reply, added=0 if is_replaced else 1),
            Step.LEASE: self._leases.giving_up(key, claim.token),
            Step.MESSAGE: Put(message_item(key, reply, at=self._now()), IS_NOT_THERE),
            Step.ANSWER: Put(item_of(answer_key(key, message.id), answer)),
        }
        if is_replaced and earlier is not None:
            writes[Step.REPLACED] = Delete(message_key(key, earlier.reply_id))
        try:
            await self._transact(key, writes)
        except TransactionCancelled as cancelled:
            if Step.MESSAGE not in cancelled.failed:
                raise StorageUnavailable("the claim on the conversation was given up or lost") from None

    async def _transact(self, key: ConversationKey, writes: Mapping[Step, Write]) -> None:
        """One transaction over a conversation; mends its counter where it cannot count.

        Raises:
            ConversationNotFound: as named.
            TransactionCancelled: for another reason.
        """
        try:
            await self._transact_once(writes)
        except (RequestRefused, TransactionCancelled) as refusal:
            if isinstance(refusal, TransactionCancelled) and not refusal.refused:
                raise
            await mend_counter(self._calls, conversation_key(key), "totalMessages", counted_list="messages")
            await self._transact_once(writes)

    async def _transact_once(self, writes: Mapping[Step, Write]) -> None:
        try:
            await self._calls.transact(writes)
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

    async def _stored(self, key: ConversationKey, message: Message) -> Message | None:
        """The message as an earlier attempt saved it."""
        message_id = message.id
        if message.metadata.client_message_id is not None:
            claim = await self._calls.get(message_claim_key(key, message.metadata.client_message_id))
            message_id = as_text((claim or {}).get("messageId")) or message_id
        return await self._message(key, message_id)

    async def _message(self, key: ConversationKey, message_id: str) -> Message | None:
        item = await self._calls.get(message_key(key, message_id))
        return None if item is None else message_of(item)

    async def _answer(self, key: ConversationKey, message: Message) -> _Answer | None:
        item = await self._calls.get(answer_key(key, message.id))
        if item is None:
            return None
        return _Answer(as_text(item.get("replyId")), item.get("isComplete") is True)

    def _release_after(self, beginning: asyncio.Task[TurnClaim], key: ConversationKey, token: str) -> None:
        task = asyncio.create_task(self._release_if_possible(beginning, key, token))
        self._clean_up.add(task)
        task.add_done_callback(self._clean_up.discard)

    async def _release_if_possible(
        self, beginning: asyncio.Task[TurnClaim], key: ConversationKey, token: str
    ) -> None:
        await asyncio.gather(beginning, return_exceptions=True)
        try:
            await self._leases.release(key, token)
        except CoachStreamError as error:
            logger.info("A lease is left to run out: %s", error.code.value)

    def _ttl(self) -> int:
        """Seconds since the epoch after which DynamoDB may delete an item."""
        return int((self._now() + RETRIES_KNOWN_FOR).timestamp())
