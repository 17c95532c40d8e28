"""Who is calling, and may they: the bearer token, verified, against the user in the path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coachstream.conversation.errors import InvalidTokenFormat, MissingAuthHeader, UserIdMismatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coachstream.conversation.model import Identity


def bearer_token(authorization: str | None) -> str:
    """Take the token out of an `Authorization` header (RFC 6750, section 2.1; the scheme in any case).

    Raises:
        MissingAuthHeader: there is no header, or nothing in it.
        InvalidTokenFormat: the header holds anything but `Bearer` and one token.
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
    """Verify the caller, by a method of `TokenVerifier`, and that they are the user whom the path names.

    Raises:
        AuthenticationError: one of its kinds, as the table of the contract says.
    """
    identity = await verify(bearer_token(authorization))
    if identity.user_id != user_id:
        raise UserIdMismatch
    return identity
