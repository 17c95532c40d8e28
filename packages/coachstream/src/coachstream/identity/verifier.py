"""`JwtVerifier`: the only code that turns a bearer token into an identity.

The same code verifies Cognito's tokens and the local issuer's. A token names its key (`kid`) and its
algorithm in a header that is not verified yet: the key is looked up only among the issuer's keys, and the
algorithm must be RS256 whatever the header says, so that neither `none` nor an HMAC keyed with the public key
is accepted (RFC 8725, sections 2.1 and 3.1). Nothing else of a token is read before its signature is
verified.

PyJWT and `cryptography` take about 50 ms to import. They are imported in a thread when the first
token arrives, not when a function's module is loaded. Verifying takes about 0.1 ms, on the loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

import msgspec

from coachstream.conversation.errors import (
    InvalidToken,
    MissingCustomUserId,
    TokenExpired,
)
from coachstream.conversation.model import Identity
from coachstream.freshness import AgeClock
from coachstream.identity.key_cache import KeyCache
from coachstream.identity.keys import KeySource
from coachstream.identity.token_header import read_header

if TYPE_CHECKING:
    from jwt import PyJWK

ALGORITHM = "RS256"

LEEWAY_S = 10
"""The allowed clock skew between the issuer and this machine: an expired token is accepted that long."""

USER_ID_CLAIM = "custom:user_id"


class JwtVerifier:
    """`TokenVerifier` for the ID tokens of one issuer.

    A token is accepted when it is signed with RS256 by a key of the issuer, `iss` is the issuer, `aud` one of
    the audiences, `exp` not past (with `LEEWAY_S`), `token_use` is `id`, and `sub` and `custom:user_id` are
    set.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        audiences: Collection[str],
        packaged_keys: KeySource | None = None,
        clock: AgeClock | None = None,
    ) -> None:
        """Verify against the keys of `issuer` (the exact `iss`) for `audiences` (app client ids).

        Args:
            keys: the source of the issuer's current keys.
            issuer: the exact `iss`.
            audiences: app client ids.
            packaged_keys: possibly outdated keys, only for `authenticate_provisionally`.
            clock: measures the age of the keys; the machine's clock by default.

        Raises:
            ValueError: the issuer or the audiences are empty, so that nothing would be checked.
        """
        if isinstance(audiences, str) or not issuer or not all(audiences) or not audiences:
            raise ValueError("a verifier needs an issuer and at least one audience")
        self._keys = KeyCache(keys, clock=clock or AgeClock(), packaged=packaged_keys)
        self._issuer = issuer
        self._audiences = tuple(audiences)

    async def verify(self, token: str) -> Identity:
        """Verify an ID token (see `TokenVerifier`).

        Raises:
            InvalidTokenFormat: the token is not a JWT.
            InvalidToken: signature, algorithm, issuer, audience, use or subject is wrong.
            TokenExpired: the token has expired.
            MissingCustomUserId: the token is valid, but names no user of this application.
            KeysUnavailable: the issuer's keys cannot be read.
        """
        return await self._verify(token, self._keys.find)

    async def authenticate_provisionally(self, token: str) -> Identity:
        """Verify an ID token with cached or packaged keys of the issuer (see `TokenVerifier`).

        Raises:
            CoachStreamError: as `verify` does; `KeysUnavailable` only for an unknown key.
        """
        return await self._verify(token, self._keys.find_known)

    async def _verify(self, token: str, find: Callable[[str], Awaitable[PyJWK | None]]) -> Identity:
        header = read_header(token)
        if header.alg != ALGORITHM or header.kid is None:
            raise InvalidToken("the token is not signed with RS256 by a named key")
        if header.crit is not msgspec.UNSET:
            # No extension is supported, so the token must be rejected (RFC 7515, section 4.1.11).
            raise InvalidToken("the token has critical extensions")
        key = await find(header.kid)
        if key is None:
            raise InvalidToken("the token is signed with a key that the issuer does not have")
        claims = self._verified_claims(token, key)
        # PyJWT compares it as well, but one of its releases accepted substrings (CVE-2024-53861).
        if claims.get("iss") != self._issuer:
            raise InvalidToken("the token is another issuer's")
        if claims.get("token_use") != "id":
            raise InvalidToken("the token is not an ID token")
        subject, user_id = claims.get("sub"), claims.get(USER_ID_CLAIM)
        if not isinstance(subject, str) or not subject:
            raise InvalidToken("the token has no subject")
        if not isinstance(user_id, str) or not user_id.strip():
            raise MissingCustomUserId
        return Identity(user_id=user_id, subject=subject)

    def _verified_claims(self, token: str, key: PyJWK) -> dict[str, object]:
        import jwt

        try:
            claims: dict[str, object] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audiences,
                leeway=LEEWAY_S,
                options={
                    "require": ["exp", "iss", "aud", "sub", "token_use"],
                    # The time of issue is not a criterion (RFC 7519, section 4.1.6).
                    "verify_iat": False,
                },
            )
        except jwt.ExpiredSignatureError as error:
            raise TokenExpired from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            # The type is enough for the log: the message may quote the claims.
            raise InvalidToken(f"the token is refused: {type(error).__qualname__}") from error
        return claims
