"""Authenticates callers: verifies the bearer token and compares its user with the user in the path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coachstream.conversation.errors import InvalidTokenFormat, MissingAuthHeader, UserIdMismatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coachstream.conversation.model import Identity


def bearer_token(authorization: str | None) -> str:
    """Extract the token from an `Authorization` header (RFC 6750, section 2.1; case-insensitive scheme).

    Raises:
        MissingAuthHeader: the header is missing or empty.
        InvalidTokenFormat: the header is not `Bearer` and one token.
    """
    if authorization is None or not authorization.strip():
        raise MissingAuthHeader
    match authorization.split():
        case [scheme, token] if scheme.lower() == "bearer":
            return token
        case _:
            raise InvalidTokenFormat


async def authenticate(
    authorization: str | None, verify: Callable[[str], Awaitable[Identity]], *, user_id: str
) -> Identity:
    """Verify the caller with a method of `TokenVerifier`, and check that it is the user in the path.

    Raises:
        AuthenticationError: one of its subclasses, as the contract's table specifies.
    """
    identity = await verify(bearer_token(authorization))
    if identity.user_id != user_id:
        raise UserIdMismatch
    return identity
