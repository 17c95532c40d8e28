"""What a wire protocol is: it reads a request into a message, and encodes the events of a turn.

Each protocol has a module of its own: `frame_encoder` for ours, `ai_sdk` and `ag_ui` for those of other
projects. None of them reads or writes anything, and the turn behind them is the same. A module is imported
with the first request for its path. `docs/how-to/add-a-wire-protocol.md` leads through a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Protocol

import msgspec

from coachstream.conversation.another_try import is_derived, original_key
from coachstream.conversation.errors import AttachmentRejected, InvalidClientMessageId
from coachstream.conversation.events import Completed, Event
from coachstream.conversation.model import Message, Role
from coachstream.conversation.text import before_offset
from coachstream.web.frames import CompleteFrame, PineconeContextFrame, TimingsFrame, UsageFrame, frame_of
from coachstream.web.quotas import QuotaFrame, quota_frames
from coachstream.web.request_body import CLIENT_MESSAGE_ID, NewMessage, decode_body, message_text

_PARAGRAPH = "\n\n"


class Encoder(Protocol):
    """Encodes one response; it remembers what its reader has."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response."""

    def begin(self) -> bytes:
        """Encode what is sent at once, before anything is read or written; never empty."""

    def encode(self, event: Event) -> bytes:
        """Encode an event as whole blocks of the stream; empty where the protocol has nothing for it."""


class SentText:
    """The text that a client has of a message, for a reset that withdraws a part of it; false if none."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, text: str) -> None:
        """Note a piece that is sent."""
        self._pieces.append(text)

    def withdraw(self, offset: int) -> str:
        """Note that all is withdrawn; return what lies before the offset, which is to be sent again."""
        kept = before_offset("".join(self._pieces), offset)
        self._pieces.clear()
        return kept


class Posted(msgspec.Struct, frozen=True):
    """A request that sends a message.

    Attributes:
        message: the message.
        encoder: encodes the response.
    """

    message: NewMessage
    encoder: Encoder


class ReplyMetadata(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is known of a finished reply besides its text, for protocols that have a place for it."""

    message_id: str
    user_message_id: str
    timestamp: str
    stop_reason: str
    pinecone_context: PineconeContextFrame
    usage: UsageFrame
    timings: TimingsFrame
    model: str | None = None
    guardrail_warning: bool = False
    run_id: str | None = None
    quotas: tuple[QuotaFrame, ...] = ()


def reply_metadata(event: Completed, run_id: str | None) -> ReplyMetadata:
    """The metadata of a finished reply."""
    frame = frame_of(event)
    assert isinstance(frame, CompleteFrame)  # noqa: S101 (for the type checker)
    known = frame.ai_message.metadata
    return ReplyMetadata(
        message_id=frame.message_id,
        user_message_id=frame.user_message.id,
        timestamp=frame.ai_message.timestamp,
        stop_reason=frame.stop_reason,
        pinecone_context=frame.pinecone_context,
        usage=frame.usage,
        timings=frame.timings,
        model=None if known is None else known.model,
        guardrail_warning=event.reply.is_flagged,
        run_id=run_id,
        quotas=quota_frames(event.quotas),
    )


class _Role(msgspec.Struct):
    role: str


class _Part(msgspec.Struct):
    type: str
    text: object = None


def is_from(role: Role, message: msgspec.Raw) -> bool:
    """Whether a message of the client's list has this role, whatever else is in it.

    Raises:
        InvalidJson: it is no message.
    """
    return decode_body(bytes(message), _Role).role == role.value


def text_of_parts(parts: Sequence[msgspec.Raw]) -> str:
    """The text of a message that consists of parts, each a paragraph; its length is not checked.

    Raises:
        AttachmentRejected: a part is a file, or anything else that is not text.
        InvalidJson, InvalidUserResponse, MessageTooLong: the first of these that applies to a part.
    """
    decoded = [decode_body(bytes(part), _Part) for part in parts]
    if any(part.type != "text" for part in decoded):
        raise AttachmentRejected
    return _PARAGRAPH.join(message_text(part.text) for part in decoded)


def idempotency_key(their_id: str) -> str:
    """The client's own id of a message, or a hash of it if it is not one of those that we accept.

    Raises:
        InvalidClientMessageId: it is empty, so every message would have the same.
    """
    if not their_id:
        raise InvalidClientMessageId
    if CLIENT_MESSAGE_ID.fullmatch(their_id):
        return their_id
    return f"id-{sha256(their_id.encode(errors='surrogatepass')).hexdigest()[:40]}"


def reply_id(message_key: str | None) -> str | None:
    """The id of the reply to a message in a client's list: the same for every reader and every attempt."""
    return None if message_key is None else f"re-{message_key}"


def key_of(user_message: Message) -> str:
    """The idempotency key under which a message was first sent; its own id, if its client sent none."""
    key = user_message.metadata.client_message_id
    return user_message.id if key is None else original_key(key) if is_derived(key) else key
