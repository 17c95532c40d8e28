"""Tickets: tokens in a URL with which `EventSource`, which sends no headers, can read one run.

A ticket is a JWT (RFC 7519), signed with HS256 with its own key and audience, so that neither can be used in
place of the other: a ticket or an ID token. It names user, coach, conversation and run. URLs end up in logs
and browser histories, so a ticket only allows reading one run, and expires after the longest duration of a
run.

PyJWT is imported in a thread at the first ticket, as for ID tokens.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from coachstream.conversation.errors import InvalidTicket, TicketExpired, TicketsUnavailable
from coachstream.conversation.model import ConversationKey
from coachstream.identity.keys import KeysUnavailable
from coachstream.identity.ticket_keys import KEY_BYTES, TicketKey

ALGORITHM = "HS256"
AUDIENCE = "coachstream-events"

TICKET_LIFETIME = timedelta(minutes=15)
"""A run lasts no longer than an invocation of Lambda."""

MAX_TICKET_CHARS = 4096
"""Four ids have some 300 characters; a URL may have some 8,000."""

# Three base64url segments (RFC 7515, section 7.1), none of them empty.
_COMPACT_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.(?P<signature>[A-Za-z0-9_-]+)")


class _Claims(msgspec.Struct, frozen=True):
    """`sub`, `aud` and `exp` are RFC 7519's; the others are ours."""

    sub: str
    coach: str
    conversation: str
    run: str
    exp: int


class Tickets:
    """Issues and verifies tickets with one key."""

    def __init__(
        self,
        key: TicketKey | None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lifetime: timedelta = TICKET_LIFETIME,
    ) -> None:
        """Store the key's source; the key is read at the first ticket.

        Args:
            key: returns the key; None disables tickets.
            now: the clock, aware.
            lifetime: the lifetime of a ticket.
        """
        self._key = key
        self._now = now
        self._lifetime = lifetime
        self._is_loaded = False

    def require_key(self) -> None:
        """Fail early if no ticket could be issued.

        Raises:
            TicketsUnavailable: no key is configured.
        """
        if self._key is None:
            raise TicketsUnavailable

    async def issue(self, key: ConversationKey, run_id: str) -> str:
        """Issue a ticket for reading this run.

        Raises:
            TicketsUnavailable: no key is configured.
            KeysUnavailable: the key cannot be read.
        """
        secret = await self._secret()
        import jwt

        expires_at = int((self._now() + self._lifetime).timestamp())
        claims = msgspec.to_builtins(_claims(key, run_id, expires_at))
        return jwt.encode({**claims, "aud": AUDIENCE}, secret, algorithm=ALGORITHM)

    async def verify(self, ticket: str, key: ConversationKey, run_id: str) -> None:
        """Reject anything that is not a valid ticket for reading this run.

        Raises:
            InvalidTicket: we did not issue the ticket, it was altered, or it is for something else.
            TicketExpired: the ticket has expired.
            TicketsUnavailable: no key is configured.
            KeysUnavailable: the key cannot be read.
        """
        claims = await self._verified_claims(ticket)
        if claims != _claims(key, run_id, claims.exp):
            raise InvalidTicket("the ticket is for something else")
        if self._now().timestamp() >= claims.exp:
            raise TicketExpired

    async def _verified_claims(self, ticket: str) -> _Claims:
        secret = await self._secret()
        try:
            return _verified(ticket, secret)
        except InvalidTicket as error:
            import jwt

            if not isinstance(error.__cause__, jwt.InvalidSignatureError):
                raise
            # A process that has already read a rotated key may have signed it.
            newer = await self._secret(instead_of=secret)
            if newer == secret:
                raise
        return _verified(ticket, newer)

    async def _secret(self, *, instead_of: bytes | None = None) -> bytes:
        if self._key is None:
            raise TicketsUnavailable
        secret = await self._key(instead_of=instead_of)
        if len(secret) < KEY_BYTES:
            raise KeysUnavailable(f"the key for tickets is shorter than {KEY_BYTES} bytes")
        if not self._is_loaded:
            await asyncio.to_thread(_import)
            self._is_loaded = True
        return secret


def _claims(key: ConversationKey, run_id: str, expires_at: int) -> _Claims:
    return _Claims(
        sub=key.user_id, coach=key.coach_id, conversation=key.conversation_id, run=run_id, exp=expires_at
    )


def _verified(ticket: str, secret: bytes) -> _Claims:
    """The claims, after verifying the signature; the caller checks `exp` with its own clock."""
    import jwt

    found = _COMPACT_JWS.fullmatch(ticket)
    # Several texts can decode to the same signature (RFC 4648, section 3.5); only the canonical one is valid.
    # The newest PyJWT checks that as well, but the oldest supported one does not.
    if found is None or len(ticket) > MAX_TICKET_CHARS or not _is_canonical(found["signature"]):
        raise InvalidTicket("the ticket is not a JWT")
    try:
        decoded = jwt.decode(
            ticket,
            secret,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            options={
                "require": ["exp", "aud", "sub"],
                "strict_aud": True,
                "verify_exp": False,
                "verify_iat": False,
            },
        )
        return msgspec.convert(decoded, _Claims)
    except (jwt.PyJWTError, msgspec.ValidationError, ValueError, TypeError, RecursionError) as error:
        # The type is enough for the log: the message may quote the claims.
        raise InvalidTicket(f"the ticket is refused: {type(error).__qualname__}") from error


def _is_canonical(encoded: str) -> bool:
    try:
        decoded = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except ValueError:
        return False
    return base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() == encoded


def _import() -> None:
    import jwt  # noqa: F401
