"""Opens sessions.

If this machine issues the tokens, `GET /local/session` replaces the sign-in and is guarded accordingly: on a
loopback address it serves only processes of the user who started the server, and only pages of this server.
No CORS headers are sent, so that no other origin can read the token.

If a user pool issues the tokens, this server cannot sign users in: the request needs a token of the pool,
which is verified as in the functions.
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
"""Long enough for an afternoon with curl; the page requests a new token in time."""


class SignIn(Protocol):
    """Opens sessions."""

    async def open_session(self, origin: str, authorization: str | None) -> Session:
        """Open a session; `origin` ends with `/` and is the base of its addresses.

        Raises:
            CoachStreamError: the token is invalid, or the store cannot be used.
            NoCoachFound: the user has no coach.
        """


class LocalSignIn:
    """Signs in one fixed user."""

    def __init__(self, person: Person, issuer: LocalIssuer) -> None:
        self._person = person
        self._issuer = issuer

    async def open_session(self, origin: str, authorization: str | None = None) -> Session:  # noqa: ARG002
        """Sign the user in with a new token."""
        issued = await asyncio.to_thread(self._issuer.issue, self._person.user_id, lifetime=TOKEN_LIFETIME)
        return session_of(self._person, issued.token, issued.expires_at, origin)


class PoolSignIn:
    """Opens sessions for users with a token of the user pool."""

    def __init__(self, directory: UserDirectory, verifier: TokenVerifier) -> None:
        self._directory = directory
        self._verifier = verifier

    async def open_session(self, origin: str, authorization: str | None) -> Session:
        """Open the session of the token's user."""
        token = bearer_token(authorization)
        identity = await self._verifier.verify(token)
        person = await self._directory.find(identity.user_id)
        return session_of(person, token, _expiry(token), origin)


class _Claims(msgspec.Struct):
    exp: float


def _expiry(verified_token: str) -> datetime:
    """Return when a token expires; requires a verified token, which has an expiry."""
    payload = verified_token.split(".")[1]
    decoded = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return datetime.fromtimestamp(msgspec.json.decode(decoded, type=_Claims).exp, UTC)
