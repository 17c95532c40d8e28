"""What the chat page is told when it starts: `GET /local/session`.

This is the local stand-in for signing in, so it is guarded as one: the server answers only when the `Host`
header names this machine (a page of another site that rebinds its name to 127.0.0.1 sends its own name), and
sends no CORS headers, so that no other origin can read the token.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec

from coachstream.conversation.model import format_timestamp
from coachstream.identity.local_issuer import LocalIssuer
from coachstream.local.demo.seed import Demo

TOKEN_LIFETIME = timedelta(hours=12)
"""Long enough for an afternoon with curl; the page asks for a new token in time."""


class SessionCoach(msgspec.Struct, frozen=True, rename="camel"):
    """A coach to choose from."""

    coach_id: str
    name: str
    description: str


class Session(msgspec.Struct, frozen=True, rename="camel"):
    """Everything the page needs to talk to the functions.

    Attributes:
        token: an ID token of the demo user; asking again gives a fresh one.
        expires_at: until when the token is good, `YYYY-MM-DDTHH:MM:SS.mmmZ`.
        user_id: the demo user.
        user_name: what to call the demo user.
        coaches: the demo user's coaches, the default one first.
        coach_id: the coach to begin with.
        conversation_id: the seeded conversation with that coach; it may have been deleted since.
        stream_url: base address of the streaming function; ends with `/`, clients append `users/...`.
        conversations_url: base address of the conversations function; ends with `/`, likewise.
    """

    token: str
    expires_at: str
    user_id: str
    user_name: str
    coaches: tuple[SessionCoach, ...]
    coach_id: str
    conversation_id: str
    stream_url: str
    conversations_url: str


async def open_session(demo: Demo, issuer: LocalIssuer, origin: str) -> Session:
    """Sign the demo user in; `origin` ends with `/` and is where the addresses lead."""
    issued = await asyncio.to_thread(issuer.issue, demo.user_id, lifetime=TOKEN_LIFETIME)
    coaches = tuple(
        SessionCoach(coach_id=coach.coach_id, name=coach.coach_name, description=coach.coach_description)
        for coach in demo.coaches
    )
    return Session(
        token=issued.token,
        expires_at=format_timestamp(issued.expires_at),
        user_id=demo.user_id,
        user_name=demo.user_name,
        coaches=coaches,
        coach_id=coaches[0].coach_id,
        conversation_id=demo.conversation_id,
        stream_url=origin,
        conversations_url=origin,
    )
