"""The JSON bodies of the conversation endpoints (existing system, section 2.2), in the stored format."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from coachstream.conversation.errors import CoachStreamError, InvalidRequest
from coachstream.conversation.model import Conversation, ConversationKey, Message, format_timestamp
from coachstream.conversation.run_queue import QueuedRun
from coachstream.web.frames import MessageFrame, message_frame
from coachstream.web.routes import is_id
from lambda_streaming.function_url.event import FunctionUrlEvent

_NUMBER = re.compile(r"[0-9]{1,9}")

LIMIT = "limit"
BEFORE = "before"
DEFAULT_PAGE = 50
"""Fills any screen several times."""

LONGEST_PAGE = 200
"""Of messages with the longest replies, about a megabyte."""


class ConversationMetadataBody(msgspec.Struct, frozen=True, rename="camel"):
    """What is known of a conversation besides its title and messages."""

    started_at: str
    last_activity: str
    total_messages: int
    is_active: bool
    tags: tuple[str, ...]


class ConversationBody(msgspec.Struct, frozen=True, rename="camel"):
    """A conversation, in the shape in which it is stored; other stored fields are kept."""

    conversation_id: str
    coach_id: str
    user_id: str
    title: str
    metadata: ConversationMetadataBody
    messages: tuple[MessageFrame, ...] | msgspec.UnsetType = msgspec.UNSET


class SuccessBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What every successful response begins with."""

    success: bool = True


class QueuedRunBody(msgspec.Struct, frozen=True, rename="camel"):
    """A stored message whose reply will be written after others."""

    run_id: str
    message_id: str
    position: int


class OneConversationBody(SuccessBody, frozen=True, kw_only=True, rename="camel"):
    """Response to creating, getting and changing a conversation."""

    conversation: Mapping[str, object]
    has_more: bool | msgspec.UnsetType = msgspec.UNSET
    queued: tuple[QueuedRunBody, ...] | msgspec.UnsetType = msgspec.UNSET


class ConversationListBody(SuccessBody, frozen=True, kw_only=True):
    """Response to a list of conversations."""

    conversations: tuple[Mapping[str, object], ...]
    count: int


class CountBody(SuccessBody, frozen=True, kw_only=True, rename="camel"):
    """Response to a count."""

    total_count: int
    total_messages: int


class DeletedBody(SuccessBody, frozen=True, kw_only=True, rename="camel"):
    """Response to a deletion."""

    message: str
    conversation_id: str
    coach_id: str
    user_id: str
    pinecone_cleanup: bool


class ErrorBody(msgspec.Struct, frozen=True):
    """Response to a conversation request that failed."""

    error: str
    code: str


Body = SuccessBody | ErrorBody


class Page(msgspec.Struct, frozen=True):
    """The part of a conversation's messages that a request asks for.

    Attributes:
        limit: the largest number of messages.
        before: the id of the message that they come before; None for the newest ones.
    """

    limit: int = DEFAULT_PAGE
    before: str | None = None


def parse_page(event: FunctionUrlEvent) -> Page | None:
    """The page that a request asks for with `?limit=` and `?before=`; None for the whole conversation.

    Raises:
        InvalidRequest: a value is given twice, or is none that can be used.
    """
    limits, befores = event.query_values(LIMIT), event.query_values(BEFORE)
    if not limits and not befores:
        return None
    if len(limits) > 1 or len(befores) > 1:
        raise InvalidRequest("a query parameter is given twice")
    limit = limits[0] if limits else str(DEFAULT_PAGE)
    if not _NUMBER.fullmatch(limit) or not 1 <= int(limit) <= LONGEST_PAGE:
        raise InvalidRequest(f"{LIMIT} is no number from 1 to {LONGEST_PAGE}")
    if befores and not is_id(befores[0]):
        raise InvalidRequest(f"{BEFORE} is no id")
    return Page(int(limit), befores[0] if befores else None)


def one_page(conversation: Conversation, messages: Sequence[Message], page: Page) -> OneConversationBody:
    """A conversation with a page of its messages, given one message more if there is one."""
    body = one_conversation(conversation, messages[-page.limit :])
    return msgspec.structs.replace(body, has_more=len(messages) > page.limit)


def one_conversation(
    conversation: Conversation, messages: Sequence[Message] | None = None
) -> OneConversationBody:
    """A conversation with its messages; without them if `messages` is `None`."""
    return OneConversationBody(conversation=_conversation_body(conversation, messages))


def with_queue(body: OneConversationBody, queued: Sequence[QueuedRun]) -> OneConversationBody:
    """The response, with the queue if there is one."""
    if not queued:
        return body
    runs = (QueuedRunBody(run.run_id, run.user_message_id, number) for number, run in enumerate(queued, 1))
    return msgspec.structs.replace(body, queued=tuple(runs))


def conversation_list(conversations: Sequence[Conversation]) -> ConversationListBody:
    """All conversations, without their messages."""
    bodies = tuple(_conversation_body(conversation, None) for conversation in conversations)
    return ConversationListBody(conversations=bodies, count=len(bodies))


def conversation_count(conversations: Sequence[Conversation]) -> CountBody:
    """The number of conversations, and of messages in all of them."""
    return CountBody(
        total_count=len(conversations),
        total_messages=sum(conversation.total_messages for conversation in conversations),
    )


def conversation_deleted(key: ConversationKey, *, is_forgotten: bool) -> DeletedBody:
    """What was deleted; `is_forgotten` is whether the search index has no summary of it any more."""
    return DeletedBody(
        message="Conversation deleted successfully",
        conversation_id=key.conversation_id,
        coach_id=key.coach_id,
        user_id=key.user_id,
        pinecone_cleanup=is_forgotten,
    )


def error_body(error: CoachStreamError) -> ErrorBody:
    """The public message and the code of an error; never its detail."""
    return ErrorBody(error=error.sentence, code=error.code.value)


def _conversation_body(
    conversation: Conversation, messages: Sequence[Message] | None
) -> Mapping[str, object]:
    """A `ConversationBody`, and what else is stored."""
    body = ConversationBody(
        conversation_id=conversation.key.conversation_id,
        coach_id=conversation.key.coach_id,
        user_id=conversation.key.user_id,
        title=conversation.title,
        metadata=ConversationMetadataBody(
            started_at=format_timestamp(conversation.started_at),
            last_activity=format_timestamp(conversation.last_activity),
            total_messages=conversation.total_messages,
            is_active=conversation.is_active,
            tags=conversation.tags,
        ),
        messages=msgspec.UNSET if messages is None else tuple(map(message_frame, messages)),
    )
    known = msgspec.to_builtins(body)
    metadata = {**conversation.more_metadata, **known["metadata"]}
    return {**conversation.more, **known, "metadata": metadata}
