"""Reads a JWT's header before verification, for the key id (RFC 7515, section 4)."""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from coachstream.conversation.errors import InvalidTokenFormat

MAX_TOKEN_CHARS = 16_384
"""Cognito's ID tokens have about 1,000; Lambda's whole request headers may have 10,240 bytes."""

# Three base64url segments (RFC 7515, section 7.1); the signature of `alg: none` is empty.
_COMPACT_JWS = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


class TokenHeader(msgspec.Struct, frozen=True):
    """An unverified header.

    Attributes:
        alg: the claimed algorithm.
        kid: the key id.
        crit: extensions that a verifier must understand; unset if the header has no such member.
    """

    alg: str
    kid: str | None = None
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def read_header(token: str) -> TokenHeader:
    """Read the header; its content is untrusted.

    Raises:
        InvalidTokenFormat: the text is not a JWT.
    """
    if len(token) > MAX_TOKEN_CHARS:
        raise InvalidTokenFormat("the token is too long")
    segments = _COMPACT_JWS.fullmatch(token)
    if segments is None:
        raise InvalidTokenFormat("the token does not have three base64url parts")
    encoded = segments[1]
    try:
        decoded = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        return msgspec.json.decode(decoded, type=TokenHeader)
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidTokenFormat(f"the token's header is unreadable ({type(error).__qualname__})") from error
