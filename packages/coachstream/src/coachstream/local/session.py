"""The session that the chat page loads when it starts: `GET /local/session`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from coachstream.conversation.model import format_timestamp


class SessionCoach(msgspec.Struct, frozen=True, rename="camel"):
    """A coach of the user."""

    coach_id: str
    name: str
    description: str


class Person(msgspec.Struct, frozen=True):
    """A user with at least one coach.

    Attributes:
        conversation_id: the seeded conversation, or the latest one; None if there is none.
        gets_titles: whether a conversation without a title gets one after its first exchange.
    """

    user_id: str
    name: str
    coaches: tuple[SessionCoach, ...]
    conversation_id: str | None
    gets_titles: bool = False


class Session(msgspec.Struct, frozen=True, rename="camel"):
    """Everything the page needs to talk to the functions.

    Attributes:
        token: an ID token of the user. If it was issued here, a new request returns a fresh one.
        expires_at: when the token expires, `YYYY-MM-DDTHH:MM:SS.mmmZ`.
        user_id: the user's id.
        user_name: the user's display name.
        coaches: the user's coaches, the default one first.
        coach_id: the coach to show first.
        conversation_id: the conversation with that coach to continue, if there is one; it may have been
            deleted since.
        stream_url: base address of the streaming function; ends with `/`, clients append `users/...`.
        conversations_url: base address of the conversations function; ends with `/`, likewise.
        gets_titles: whether a conversation without a title gets one after its first exchange.
    """

    token: str
    expires_at: str
    user_id: str
    user_name: str
    coaches: tuple[SessionCoach, ...]
    coach_id: str
    conversation_id: str | None
    stream_url: str
    conversations_url: str
    gets_titles: bool = False


def session_of(person: Person, token: str, expires_at: datetime, origin: str) -> Session:
    """Return the session of a signed-in user; `origin` ends with `/` and is the base of the addresses."""
    return Session(
        token=token,
        expires_at=format_timestamp(expires_at),
        user_id=person.user_id,
        user_name=person.name,
        coaches=person.coaches,
        coach_id=person.coaches[0].coach_id,
        conversation_id=person.conversation_id,
        stream_url=origin,
        conversations_url=origin,
        gets_titles=person.gets_titles,
    )
