"""Which resource a path names, and which methods it takes.

A path arrives as its segments: percent-decoded, empty ones dropped (the existing clients send a doubled
slash). What is not in the table below is `MissingPathParams`; nothing is revealed by saying so before the
token is looked at, since a route either exists for everybody or for nobody.
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
    """What a path can name."""

    STREAM = "stream"
    RUN = "run"
    SEND_MESSAGE = "send-message"
    CONVERSATIONS = "conversations"
    COUNT = "count"
    CONVERSATION = "conversation"


class Route(msgspec.Struct, frozen=True):
    """One matched path: the resource and the ids in it; those that are not named are empty."""

    resource: Resource
    user_id: str
    coach_id: str
    conversation_id: str = ""
    run_id: str = ""

    @property
    def key(self) -> ConversationKey:
        """The conversation that the path names."""
        return ConversationKey(self.user_id, self.coach_id, self.conversation_id)


PATTERNS: tuple[tuple[Resource, tuple[str, ...]], ...] = (
    (Resource.CONVERSATIONS, ("users", "{user}", "coaches", "{coach}", "conversations")),
    (Resource.COUNT, ("users", "{user}", "coaches", "{coach}", "conversations", "count")),
    (Resource.CONVERSATION, ("users", "{user}", "coaches", "{coach}", "conversations", "{conversation}")),
    (Resource.STREAM, ("users", "{user}", "coaches", "{coach}", "conversations", "{conversation}", "stream")),
    (
        Resource.RUN,
        ("users", "{user}", "coaches", "{coach}", "conversations", "{conversation}", "stream", "{run}"),
    ),
    (
        Resource.SEND_MESSAGE,
        ("users", "{user}", "coaches", "{coach}", "conversations", "{conversation}", "send-message"),
    ),
)
"""Tried in this order: the literal `count` wins over an id of that name."""


def match_path(segments: Sequence[str]) -> Route:
    """Find the route of a path.

    Raises:
        MissingPathParams: the path is no route, or one of its ids cannot be an id.
    """
    for resource, pattern in PATTERNS:
        ids = _ids_of(pattern, segments)
        if ids is not None:
            return Route(resource, *ids)
    raise MissingPathParams


def require_method(method: str, allow: tuple[str, ...]) -> None:
    """Refuse every other method.

    Raises:
        MethodNotAllowed: names the ones in `allow`.
    """
    if method not in allow:
        raise MethodNotAllowed(allow)


def _ids_of(pattern: tuple[str, ...], segments: Sequence[str]) -> list[str] | None:
    if len(pattern) != len(segments):
        return None
    ids: list[str] = []
    for part, segment in zip(pattern, segments, strict=True):
        if part.startswith("{"):
            if not _can_be_an_id(segment):
                return None
            ids.append(segment)
        elif part != segment:
            return None
    return ids


def _can_be_an_id(segment: str) -> bool:
    """`#` joins the parts of a stored key, so an id that holds one could name another item.

    Undecodable and unprintable characters (the replacement character among them) are in no id format.
    """
    return len(segment) <= MAX_ID_CHARS and segment.isprintable() and not set(segment) & {"#", "\ufffd"}
