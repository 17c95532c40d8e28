"""What the chat page is told when it starts: `GET /local/session`."""

from __future__ import annotations

from datetime import datetime

import msgspec

from coachstream.conversation.model import format_timestamp


class SessionCoach(msgspec.Struct, frozen=True, rename="camel"):
    """A coach to choose from."""

    coach_id: str
    name: str
    description: str


class Person(msgspec.Struct, frozen=True):
    """Somebody who can talk, to one of at least one coach.

    Attributes:
        conversation_id: the seeded one, or the one they talked in last; None where there is none yet.
    """

    user_id: str
    name: str
    coaches: tuple[SessionCoach, ...]
    conversation_id: str | None


class Session(msgspec.Struct, frozen=True, rename="camel"):
    """Everything the page needs to talk to the functions.

    Attributes:
        token: an ID token of the user. Where it was issued here, asking again gives a fresh one.
        expires_at: until when the token is good, `YYYY-MM-DDTHH:MM:SS.mmmZ`.
        user_id: the user.
        user_name: what to call the user.
        coaches: the user's coaches, the default one first.
        coach_id: the coach to begin with.
        conversation_id: the conversation with that coach to go on with, if there is one; it may have been
            deleted since.
        stream_url: base address of the streaming function; ends with `/`, clients append `users/...`.
        conversations_url: base address of the conversations function; ends with `/`, likewise.
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


def session_of(person: Person, token: str, expires_at: datetime, origin: str) -> Session:
    """The session of somebody who is signed in; `origin` ends with `/` and is where the addresses lead."""
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
    )
