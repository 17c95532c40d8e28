"""`JwtVerifier`: the one way a bearer token becomes an identity."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from coachstream.conversation.model import Identity
from coachstream.identity.keys import KeySource


class JwtVerifier:
    """`TokenVerifier` for ID tokens of a Cognito user pool, and of the local issuer alike."""

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        audiences: Collection[str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        raise NotImplementedError

    async def verify(self, token: str) -> Identity:
        raise NotImplementedError
