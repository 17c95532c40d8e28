"""Who may open a session.

Where this machine issues the tokens, `GET /local/session` stands in for signing in, so it is guarded as a
sign-in: on a loopback address it answers only processes of the user who started the server, and pages only if
they are its own. No CORS headers are sent, so that no other origin can read the token.

Where a user pool issues them, nobody can be signed in here: whoever asks brings a token of the pool, and it
is verified as the functions verify it.
"""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from coachstream.conversation.ports import TokenVerifier
from coachstream.identity.local_issuer import LocalIssuer
from coachstream.local.session import Person, Session, session_of
from coachstream.local.user_directory import UserDirectory
from coachstream.web.authentication import bearer_token

TOKEN_LIFETIME = timedelta(hours=12)
"""Long enough for an afternoon with curl; the page asks for a new token in time."""


class SignIn(Protocol):
    """Opens sessions."""

    async def open_session(self, origin: str, authorization: str | None) -> Session:
        """Sign somebody in; `origin` ends with `/` and is where the addresses lead.

        Raises:
            CoachStreamError: they cannot be.
            NoCoachFound: they have no coach.
        """


class LocalSignIn:
    """Signs one user in, whoever asks."""

    def __init__(self, person: Person, issuer: LocalIssuer) -> None:
        self._person = person
        self._issuer = issuer

    async def open_session(self, origin: str, authorization: str | None = None) -> Session:  # noqa: ARG002
        """Sign the user in, with a token that is issued now."""
        issued = await asyncio.to_thread(self._issuer.issue, self._person.user_id, lifetime=TOKEN_LIFETIME)
        return session_of(self._person, issued.token, issued.expires_at, origin)


class PoolSignIn:
    """Takes those who have a token of the user pool."""

    def __init__(self, people: UserDirectory, verifier: TokenVerifier) -> None:
        self._people = people
        self._verifier = verifier

    async def open_session(self, origin: str, authorization: str | None) -> Session:
        """Open the session of the token's user."""
        token = bearer_token(authorization)
        identity = await self._verifier.verify(token)
        person = await self._people.find(identity.user_id)
        return session_of(person, token, _expiry(token), origin)


class _Claims(msgspec.Struct):
    exp: float


def _expiry(verified_token: str) -> datetime:
    """When a token ends; only to be asked of one that was verified, which has an end."""
    payload = verified_token.split(".")[1]
    decoded = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return datetime.fromtimestamp(msgspec.json.decode(decoded, type=_Claims).exp, UTC)
