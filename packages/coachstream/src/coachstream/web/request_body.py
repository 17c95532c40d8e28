"""Parses request bodies, checking each field.

`null` for an optional field is ignored, and so are unknown fields, unless they would carry content: a coach
that ignores a picture answers as if it had seen it. Stored values are checked strictly. Invalid Unicode, such
as half an emoji, becomes U+FFFD in a user's text; in an id it fails that field's check.

Limits count code points: most emoji count once here and twice in JavaScript's `length`, so a text that is
within a limit by JavaScript's count is never rejected.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from coachstream.conversation.another_try import RetriedMessage, TryKind, TryRequest
from coachstream.conversation.errors import (
    AttachmentRejected,
    InvalidClientMessageId,
    InvalidJson,
    InvalidRequest,
    InvalidTimestamp,
    InvalidTimeZone,
    InvalidUserResponse,
    MessageTooLong,
    MissingPathParams,
    MissingRequestBody,
)
from coachstream.conversation.model import ConversationChange, to_milliseconds
from coachstream.conversation.runs.settings import TurnPolicy
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.conversation.visible_text import is_blank
from coachstream.time_zone import is_zone_name
from coachstream.web.routes import is_id
from lambda_streaming.function_url.event import (
    FunctionUrlEvent,
    InvalidEvent,
    InvalidEventBody,
    RemainingTime,
)

MAX_MESSAGE_CHARS = 32_000
"""Longest `userResponse`, in code points (design, section 4)."""

MAX_TITLE_CHARS = 200
"""Longest title; the existing client sends at most 50 characters of a message."""

MAX_TAGS = 50
MAX_TAG_CHARS = 100

_EARLIEST_MESSAGE = datetime(1970, 1, 1, tzinfo=UTC)
_JSON_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""An escape in a JSON text; the group matches a lone surrogate."""

_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_CONTENT_WORDS = frozenset(
    (
        *("attachment", "audio", "blob", "block", "content", "document", "file", "image", "media", "part"),
        *("photo", "picture", "recording", "s3", "upload", "video", "voice"),
    )
)
"""Words, in the singular, in the names of fields that carry content."""

_TEXT = "text"
"""The existing system's `messageType` of a message without attachments."""

CLIENT_MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class NewMessage(msgspec.Struct, frozen=True):
    """A checked message: `sent_at` is in UTC and whole milliseconds; `time_zone` may be unknown here.

    The text is empty if `another_try` needs none.
    """

    text: str
    sent_at: datetime
    client_message_id: str | None = None
    time_zone: str | None = None
    policy: TurnPolicy | None = None
    another_try: TryRequest | None = None
    retried: RetriedMessage | None = None


class NewConversation(msgspec.Struct, frozen=True):
    """A checked request to create a conversation; `initial_message` is `None` when there is none."""

    title: str
    initial_message: str | None
    time_zone: str | None = None


class MessageBody(msgspec.Struct, rename="camel"):
    """The fields of a new message, still unchecked."""

    user_response: object = None
    message_timestamp: object = None
    client_message_id: object = None
    user_timezone: object = None
    policy: object = None
    regenerate: object = None
    replaces: object = None
    continue_: object = msgspec.field(default=None, name="continue")


class CreateBody(msgspec.Struct, rename="camel"):
    """The fields of a new conversation, still unchecked."""

    title: object = None
    initial_message: object = None
    user_timezone: object = None


class ChangeBody(msgspec.Struct, rename="camel"):
    """The fields of a conversation that can be changed, still unchecked."""

    title: object = msgspec.UNSET
    tags: object = msgspec.UNSET
    is_active: object = msgspec.UNSET


_Body = TypeVar("_Body")


def read_event(payload: object, context: RemainingTime) -> FunctionUrlEvent:
    """Read the event from Lambda.

    Raises:
        InvalidJson: the body does not match its declared encoding.
        MissingPathParams: the event is not from a Function URL, so it has no path.
    """
    try:
        return FunctionUrlEvent.from_payload(payload, context)
    except InvalidEventBody as error:
        raise InvalidJson from error
    except InvalidEvent as error:
        raise MissingPathParams from error


def parse_new_message(body: bytes | None, *, received_at: datetime) -> NewMessage:
    """Read the body of a turn; `received_at` replaces a missing `messageTimestamp`.

    `regenerate` and `continue` name a reply and have no text; `replaces` names the user message that the text
    replaces. There is at most one of them, with a `clientMessageId`.

    Raises:
        MissingRequestBody, InvalidJson, AttachmentRejected, InvalidUserResponse, MessageTooLong,
        InvalidTimestamp, InvalidClientMessageId, InvalidRequest (another try), InvalidTimeZone,
        InvalidRequest (policy): the first of these that applies, in this order.
    """
    fields = decode_body(body, MessageBody)
    require_text_only(body)
    has_text = fields.regenerate is None and fields.continue_ is None
    message = NewMessage(
        text=message_text(fields.user_response) if has_text else "",
        sent_at=_timestamp(fields.message_timestamp, received_at),
        client_message_id=_client_message_id(fields.client_message_id),
        another_try=_another_try(fields),
        time_zone=time_zone(fields.user_timezone),
        policy=_policy(fields.policy),
    )
    if message.policy is not None and message.another_try is not None:
        raise InvalidRequest("policy")  # another try never waits
    return message


def parse_new_conversation(body: bytes | None) -> NewConversation:
    """Read the body of a creation; every field is optional, and so is the body.

    Raises:
        InvalidJson, AttachmentRejected, InvalidRequest (title), InvalidUserResponse, MessageTooLong
        (initialMessage), InvalidTimeZone.
    """
    fields = CreateBody()
    if body and body.strip():
        fields = decode_body(body, CreateBody)
        require_text_only(body)
    return NewConversation(
        title=DEFAULT_TITLE if fields.title is None or fields.title == "" else _title(fields.title),
        # The existing function runs no turn for a falsy message.
        initial_message=message_text(fields.initial_message) if fields.initial_message else None,
        time_zone=time_zone(fields.user_timezone),
    )


def parse_conversation_change(body: bytes | None) -> ConversationChange:
    """Read the body of a rename: at least one of `title`, `tags`, `isActive`.

    Raises:
        MissingRequestBody, InvalidJson, InvalidRequest.
    """
    fields = decode_body(body, ChangeBody)
    change = ConversationChange(
        title=None if fields.title is msgspec.UNSET else _title(fields.title),
        tags=None if fields.tags is msgspec.UNSET else _tags(fields.tags),
        is_active=None if fields.is_active is msgspec.UNSET else _is_active(fields.is_active),
    )
    if change == ConversationChange():
        raise InvalidRequest("nothing to change")
    return change


def decode_body(body: bytes | None, shape: type[_Body]) -> _Body:
    """Decode JSON, with U+FFFD for invalid Unicode.

    Raises:
        MissingRequestBody: there is no body.
        InvalidJson: it is not JSON, or not of this shape.
    """
    if body is None or not body.strip():
        raise MissingRequestBody
    try:
        try:
            return msgspec.json.decode(body, type=shape)
        except (msgspec.MsgspecError, ValueError):
            return msgspec.json.decode(_well_formed(body), type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidJson from error


def require_text_only(body: bytes | None) -> None:
    """Refuse content that is not understood.

    Raises:
        AttachmentRejected: a field that is not empty carries content other than text.
    """
    for name, value in decode_body(body, dict[str, msgspec.Raw]).items():
        words = {word.lower() for word in _WORD.findall(name)}
        is_content = not _CONTENT_WORDS.isdisjoint(words | {word.removesuffix("s") for word in words})
        if is_content and decode_body(bytes(value), object):
            raise AttachmentRejected
        if name == "messageType" and decode_body(bytes(value), object) not in (None, "", _TEXT):
            raise AttachmentRejected


def _well_formed(body: bytes) -> bytes:
    """The JSON text with U+FFFD for invalid Unicode, as in browsers."""
    text = body.decode(errors="replace").encode()
    return _JSON_ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], text)


def message_text(value: object) -> str:
    """Check what the user wrote.

    Raises:
        InvalidUserResponse, MessageTooLong: as named.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidUserResponse
    if len(value) > MAX_MESSAGE_CHARS:
        raise MessageTooLong
    # Last, because it examines each character.
    if is_blank(value):
        raise InvalidUserResponse
    return value


def _timestamp(value: object, received_at: datetime) -> datetime:
    if value is None:
        return to_milliseconds(received_at)
    # `fromisoformat` accepts any character between date and time, ISO 8601 only a T.
    if not isinstance(value, str) or "T" not in value.upper():
        raise InvalidTimestamp
    try:
        moment = to_milliseconds(datetime.fromisoformat(value))
    except (ValueError, OverflowError) as error:
        raise InvalidTimestamp from error
    if moment < _EARLIEST_MESSAGE:
        raise InvalidTimestamp
    return moment


def _client_message_id(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not CLIENT_MESSAGE_ID.fullmatch(value):
        raise InvalidClientMessageId
    return value


def _another_try(fields: MessageBody) -> TryRequest | None:
    """What is tried again, if anything.

    Raises:
        InvalidRequest: it is not one thing, has no idempotency key, or a text that is not used.
    """
    given = {
        TryKind.REGENERATE: fields.regenerate,
        TryKind.REPLACE: fields.replaces,
        TryKind.CONTINUE: fields.continue_,
    }
    named = [(kind, value) for kind, value in given.items() if value is not None]
    if not named:
        return None
    if len(named) > 1:
        raise InvalidRequest("more than one thing is to be tried again")
    [(kind, message_id)] = named
    if not isinstance(message_id, str) or not is_id(message_id):
        raise InvalidRequest(f"{kind.value} is no id of a message")
    if kind is not TryKind.REPLACE and fields.user_response not in (None, ""):
        raise InvalidRequest(f"{kind.value} takes no text")
    key = _client_message_id(fields.client_message_id)
    if key is None:
        raise InvalidRequest(f"{kind.value} needs a clientMessageId")
    return TryRequest(kind, message_id, key)


def time_zone(value: object) -> str | None:
    """Check the name of the user's time zone, if there is one.

    Raises:
        InvalidTimeZone: it cannot be such a name.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not is_zone_name(value):
        raise InvalidTimeZone
    return value


def _policy(value: object) -> TurnPolicy | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in set(TurnPolicy):
        raise InvalidRequest("policy")
    return TurnPolicy(value)


def _title(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TITLE_CHARS or is_blank(value):
        raise InvalidRequest("title")
    return value


def _tags(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_TAGS:
        raise InvalidRequest("tags")
    tags = tuple(
        tag for tag in value if isinstance(tag, str) and len(tag) <= MAX_TAG_CHARS and not is_blank(tag)
    )
    if len(tags) != len(value):
        raise InvalidRequest("tags")
    return tags


def _is_active(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest("isActive")
    return value
