"""Maps paths to resources, and checks methods.

A path arrives as its segments: percent-decoded, without empty ones (the existing clients send a doubled
slash). Paths that are not in the table below raise `MissingPathParams`; doing so before the token is verified
reveals nothing, since routes do not depend on the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from coachstream.conversation.errors import MethodNotAllowed, MissingPathParams
from coachstream.conversation.model import ConversationKey

MAX_ID_CHARS = 256
"""Far above every id format in use; DynamoDB's own limit is 1,024 bytes for a whole sort key."""


class Resource(StrEnum):
    """The resources that a path can name."""

    STREAM = "stream"
    RUN = "run"
    AI_SDK = "ai-sdk"
    AI_SDK_STREAM = "ai-sdk-stream"
    AG_UI = "ag-ui"
    SEND_MESSAGE = "send-message"
    CONVERSATIONS = "conversations"
    COUNT = "count"
    CONVERSATION = "conversation"
    VERSIONS = "versions"
    VERSION = "version"
    EXPORT = "export"
    USER_DATA = "user-data"


class Route(msgspec.Struct, frozen=True):
    """A matched path: the resource and the ids in it; missing ids are empty.

    Attributes:
        chat_id: the AI SDK's name for the conversation, which its client makes up; nothing depends on it.
    """

    resource: Resource
    user_id: str
    coach_id: str = ""
    conversation_id: str = ""
    run_id: str = ""
    chat_id: str = ""
    message_id: str = ""
    version_id: str = ""

    @property
    def key(self) -> ConversationKey:
        """The conversation that the path names; without a coach and an id if it concerns all of them."""
        return ConversationKey(self.user_id, self.coach_id, self.conversation_id)


_CONVERSATION = ("users", "{user}", "coaches", "{coach}", "conversations", "{conversation}")

PATTERNS: tuple[tuple[Resource, tuple[str, ...]], ...] = (
    (Resource.CONVERSATIONS, ("users", "{user}", "coaches", "{coach}", "conversations")),
    (Resource.COUNT, ("users", "{user}", "coaches", "{coach}", "conversations", "count")),
    (Resource.CONVERSATION, _CONVERSATION),
    (Resource.VERSIONS, (*_CONVERSATION, "messages", "{message}", "versions")),
    (Resource.VERSION, (*_CONVERSATION, "messages", "{message}", "versions", "{version}")),
    (Resource.STREAM, (*_CONVERSATION, "stream")),
    (Resource.RUN, (*_CONVERSATION, "stream", "{run}")),
    (Resource.AI_SDK, (*_CONVERSATION, "ai-sdk")),
    (Resource.AI_SDK_STREAM, (*_CONVERSATION, "ai-sdk", "{chat}", "stream")),
    (Resource.AG_UI, (*_CONVERSATION, "ag-ui")),
    (Resource.SEND_MESSAGE, (*_CONVERSATION, "send-message")),
    (Resource.EXPORT, ("users", "{user}", "export")),
    (Resource.USER_DATA, ("users", "{user}", "data")),
)
"""Tried in this order: the literal `count` wins over an id of that name."""


def match_path(segments: Sequence[str]) -> Route:
    """Find the route of a path.

    Raises:
        MissingPathParams: the path is not a route, or an id in it is invalid.
    """
    for resource, pattern in PATTERNS:
        ids = _ids_of(pattern, segments)
        if ids is not None:
            return Route(resource, **ids)
    raise MissingPathParams


def require_method(method: str, allow: tuple[str, ...]) -> None:
    """Reject all other methods.

    Raises:
        MethodNotAllowed: lists the methods in `allow`.
    """
    if method not in allow:
        raise MethodNotAllowed(allow)


def _ids_of(pattern: tuple[str, ...], segments: Sequence[str]) -> dict[str, str] | None:
    """The ids by the names of their fields in `Route`."""
    if len(pattern) != len(segments):
        return None
    ids: dict[str, str] = {}
    for part, segment in zip(pattern, segments, strict=True):
        if part.startswith("{"):
            if not is_id(segment):
                return None
            ids[f"{part[1:-1]}_id"] = segment
        elif part != segment:
            return None
    return ids


def is_id(segment: str) -> bool:
    """Whether a text can be an id.

    It has no `#`, which separates the components of a stored key: such an id could name another item. No id
    format has undecodable or unprintable characters (such as the replacement character).
    """
    return 0 < len(segment) <= MAX_ID_CHARS and segment.isprintable() and not set(segment) & {"#", "\ufffd"}
