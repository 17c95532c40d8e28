"""What the chat page is told when it starts: `GET /local/session`.

This is the local stand-in for signing in, so it is guarded as one: the server answers only when the `Host`
header names this machine (a page of another site that rebinds its name to 127.0.0.1 sends its own name), and
sends no CORS headers, so that no other origin can read the token.
"""

from __future__ import annotations

import msgspec


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
