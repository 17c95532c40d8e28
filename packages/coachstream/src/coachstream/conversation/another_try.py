"""Another try at the last exchange of a conversation: another reply, the message edited, the reply continued.

An attempt is an ordinary run. Until its reply is stored, the conversation is unchanged; then one transaction
makes the new version the chosen one. What a conversation's readers find is the chosen line: each exchange in
its chosen version. The older ones are kept elsewhere, under the ids that they had.

Only the last exchange can be tried again, so the ids of all its versions lie between those of its neighbors
in the line. Those of the exchange before it can lie there, too, if an older version of that one was chosen.
So a message that replaces another one has the id of the exchange's first (`exchange_of`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256

import msgspec

from coachstream.conversation.errors import CannotContinue, NotTheLastExchange
from coachstream.conversation.ids import id_after
from coachstream.conversation.limits import LONGEST_REPLY_BYTES
from coachstream.conversation.model import Message, Role, StopReason

MOST_VERSIONS = 10
"""The versions of an exchange that are kept, with the chosen one; the oldest is deleted first."""

_DIGEST_CHARS = 12
_DERIVED = re.compile(rf"-try-[0-9a-f]{{{_DIGEST_CHARS}}}$")
LONGEST_STEM = 47
"""A key has at most 64 characters; a longer one is hashed where another one derives from it."""

CONTINUABLE = frozenset({StopReason.STOPPED, StopReason.MAX_TOKENS, StopReason.INTERRUPTED})
"""How a reply ended that can be continued: the model had more to say."""


class TryKind(StrEnum):
    """What is tried again; the values are the names of the request's fields."""

    REGENERATE = "regenerate"
    REPLACE = "replaces"
    CONTINUE = "continue"


class AnotherTry(msgspec.Struct, frozen=True, rename="camel"):
    """An attempt that has begun, as the log of its run has it.

    Attributes:
        kind: what is tried again.
        client_message_id: the client's idempotency key of the attempt.
        user_message_id: the user message of the version that is chosen until the attempt succeeds.
        reply_id: its reply; None if it has none.
        versions: `MessageMetadata.versions` of the reply of the attempt.
    """

    kind: TryKind
    client_message_id: str
    user_message_id: str
    reply_id: str | None = None
    versions: int = 0

    @property
    def continued_id(self) -> str | None:
        """The id of the reply that is continued, and keeps it; None if the attempt writes a new one."""
        return self.reply_id if self.kind is TryKind.CONTINUE else None

    @property
    def older_ids(self) -> tuple[str, ...]:
        """The ids of the messages that give way to the new version."""
        user_message = self.user_message_id if self.kind is TryKind.REPLACE else None
        reply = None if self.kind is TryKind.CONTINUE else self.reply_id
        return tuple(each for each in (user_message, reply) if each is not None)


class LastExchange(msgspec.Struct, frozen=True):
    """The last exchange of a conversation, in its chosen version."""

    user_message: Message
    reply: Message | None = None


class TryRequest(msgspec.Struct, frozen=True):
    """A request to try again.

    Attributes:
        kind: what to try again.
        message_id: the reply or, to replace it, the user message; also the client's idempotency key of the
            user message, for clients that know no ids of ours.
        client_message_id: the client's idempotency key of the attempt.
    """

    kind: TryKind
    message_id: str
    client_message_id: str

    def begin(self, last: LastExchange | None) -> AnotherTry:
        """Check that the conversation's last exchange can be tried again like this.

        Raises:
            NotTheLastExchange: the message is not in it.
            CannotContinue: its reply is whole, or as long as a reply can be.
        """
        reply = None if last is None else last.reply
        named = last.user_message if last is not None and self.kind is TryKind.REPLACE else reply
        if last is None or named is None:
            raise NotTheLastExchange
        if self.message_id not in {named.id, last.user_message.metadata.client_message_id}:
            raise NotTheLastExchange
        if self.kind is TryKind.CONTINUE and not is_continuable(named):
            raise CannotContinue("the reply is whole")
        versions = 1 if reply is None else reply.metadata.versions
        if self.kind is not TryKind.CONTINUE:
            versions = min(MOST_VERSIONS, max(1, versions) + 1)
        return AnotherTry(
            self.kind,
            self.client_message_id,
            last.user_message.id,
            None if reply is None else reply.id,
            versions,
        )


class RetriedMessage(msgspec.Struct, frozen=True):
    """A message that is sent or tried again by a client that knows it by its own id only.

    Attributes:
        key: that id, as an idempotency key.
        is_for_another_reply: whether it wants another reply to the same text.
    """

    key: str
    is_for_another_reply: bool = False

    def resolve(self, last: LastExchange | None, text: str) -> TryRequest | str:
        """The try that this is, given the last exchange; or the key to send the message under.

        The key of a try derives from what is tried, so that the same request is the same attempt.
        """
        user_message = None if last is None else last.user_message
        its_key = None if user_message is None else user_message.metadata.client_message_id
        if last is None or user_message is None or its_key is None:
            return self.key
        if original_key(its_key) != original_key(self.key):
            return self.key
        if user_message.content != text:
            attempt = f"{user_message.id} {text}"
            return TryRequest(TryKind.REPLACE, user_message.id, _derived_key(self.key, attempt))
        if self.is_for_another_reply and last.reply is not None and not last.reply.is_interrupted:
            return TryRequest(TryKind.REGENERATE, last.reply.id, _derived_key(self.key, last.reply.id))
        return its_key


def original_key(key: str) -> str:
    """The key of the message that was sent first, given that of a message that replaces it, or its own."""
    stem = _DERIVED.sub("", key)
    if len(stem) <= LONGEST_STEM:
        return stem
    return f"id-{sha256(stem.encode()).hexdigest()[:40]}"


def is_derived(key: str) -> bool:
    """Whether a key is that of a try that `RetriedMessage` resolved."""
    return _DERIVED.search(key) is not None


def _derived_key(key: str, attempt: str) -> str:
    digest = sha256(attempt.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    return f"{original_key(key)}-try-{digest}"


class Version(msgspec.Struct, frozen=True):
    """A version of an exchange; a message that was edited before it had a reply has none."""

    user_message: Message
    reply: Message | None
    is_chosen: bool = False

    def has_whole_reply(self, reply_id: str) -> bool:
        """Whether this is the version with that reply, and it can be chosen: the reply is not interrupted."""
        return self.reply is not None and self.reply.id == reply_id and not self.reply.is_interrupted


def exchange_of(user_message: Message) -> str:
    """The id of the first message of an exchange, which all that replace it keep."""
    return user_message.metadata.exchange_id or user_message.id


def replacing(message: Message, replaced: Message, newest_id: str | None) -> Message:
    """The message that replaces another one: in the same exchange, handed off like it, with the latest id."""
    metadata = msgspec.structs.replace(
        message.metadata,
        is_handed_off=replaced.metadata.is_handed_off,
        exchange_id=exchange_of(replaced),
    )
    return msgspec.structs.replace(message, id=id_after(message.id, newest_id), metadata=metadata)


def is_continuable(reply: Message) -> bool:
    """Whether a reply ended before the model did."""
    has_room = len(reply.content.encode()) < LONGEST_REPLY_BYTES
    return reply.metadata.stop_reason in CONTINUABLE and has_room


def last_exchange(newest: Sequence[Message]) -> LastExchange | None:
    """The last exchange, given the newest messages, oldest first: two suffice.

    None if there is none, or if the newest message replies to another one than the message before it.
    """
    last = newest[-1] if newest else None
    if last is None:
        return None
    if last.role is Role.USER:
        return LastExchange(last)
    before = newest[-2] if len(newest) > 1 else None
    if before is None or before.role is not Role.USER or last.metadata.reply_to != before.id:
        return None
    return LastExchange(before, last)


def versions_of(chosen: Sequence[Message], older: Sequence[Message]) -> list[Version]:
    """The versions of an exchange, oldest first.

    Args:
        chosen: the exchange as it is in the line.
        older: the older messages of the exchange.
    """
    messages = sorted((*chosen, *older), key=lambda message: message.id)
    users = {message.id: message for message in messages if message.role is Role.USER}
    in_line = {message.id for message in chosen}
    replies = [message for message in messages if message.role is Role.ASSISTANT]
    answered = {reply.metadata.reply_to for reply in replies}
    versions = [
        Version(users[reply.metadata.reply_to], reply, reply.id in in_line)
        for reply in replies
        if reply.metadata.reply_to in users
    ]
    versions += [
        Version(user, None, user.id in in_line) for user in users.values() if user.id not in answered
    ]
    return sorted(versions, key=lambda each: (each.reply or each.user_message).id)


def surplus(older: Sequence[Message], *, keep: int) -> list[Message]:
    """Those of an exchange's older messages that are to be deleted, so that `keep` older replies are kept."""
    replies = sorted((each for each in older if each.role is Role.ASSISTANT), key=lambda each: each.id)
    dropped, kept = replies[: max(0, len(replies) - keep)], replies[max(0, len(replies) - keep) :]
    of_dropped_only = {each.metadata.reply_to for each in dropped} - {each.metadata.reply_to for each in kept}
    return [*dropped, *(each for each in older if each.id in of_dropped_only)]


class Surroundings(msgspec.Struct, frozen=True):
    """An exchange in the chosen line.

    Attributes:
        chosen: its messages in the line.
        after: the id of the message before it; empty if there is none.
        before: the id of the message after it; None if there is none.
    """

    chosen: tuple[Message, ...]
    after: str
    before: str | None

    def older(self, messages: Sequence[Message]) -> list[Message]:
        """Those of some older messages that are of the exchange."""
        first_id = exchange_of(self.chosen[0])
        near = [each for each in messages if self._has_around(each.id)]
        users = {self.chosen[0].id} | {
            each.id for each in near if each.role is Role.USER and exchange_of(each) == first_id
        }
        return [each for each in near if each.id in users or each.metadata.reply_to in users]

    def _has_around(self, message_id: str) -> bool:
        return self.after < message_id and (self.before is None or message_id < self.before)


def surroundings_of(message_id: str, line: Sequence[Message]) -> Surroundings | None:
    """The exchange of a message, given the part of the line with two messages before and after it.

    None if the message is not in it, or is a reply that does not follow its user message.
    """
    at = next((number for number, each in enumerate(line) if each.id == message_id), None)
    if at is None:
        return None
    if line[at].role is Role.ASSISTANT:
        at -= 1
        if at < 0 or line[at].id != line[at + 1].metadata.reply_to:
            return None
    has_reply = at + 1 < len(line) and line[at + 1].metadata.reply_to == line[at].id
    end = at + 2 if has_reply else at + 1
    return Surroundings(
        tuple(line[at:end]), line[at - 1].id if at else "", line[end].id if end < len(line) else None
    )
