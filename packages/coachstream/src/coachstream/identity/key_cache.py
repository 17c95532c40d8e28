"""A cache of an issuer's keys: read once, and again for an unknown key or when a refresh is due.

An unknown key id indicates a rotation, or a forged token. So the key set is read again, but rarely, and once
for all waiting callers (single flight): a flood of forged ids costs the issuer one request every ten seconds,
and at worst, after two rotations in quick succession, a valid token is rejected for ten seconds.

Known keys remain usable while the issuer cannot be reached, but only for a limited time (`freshness`): one of
them may have been revoked.

Keys from the package (`packaged_keys`) are kept apart from the issuer's current keys: only `find_known`
returns them, for provisional authentication.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from coachstream.freshness import (
    REFRESH_AFTER_S,
    REREAD_AT_MOST_EVERY_S,
    USABLE_FOR_S,
    AgeClock,
    Instant,
)
from coachstream.identity.keys import KeySource, KeysUnavailable

if TYPE_CHECKING:
    from jwt import PyJWK

logger = logging.getLogger("coachstream.identity")

RETRY_AT_MOST_EVERY_S = 1.0
"""The minimum interval between a failed read and the next one."""


class KeyCache:
    """The RS256 keys of one issuer, by key id."""

    def __init__(self, source: KeySource, *, clock: AgeClock, packaged: KeySource | None = None) -> None:
        self._source = source
        self._packaged = packaged
        self._unpacking = asyncio.Lock()
        self._packaged_keys: Mapping[str, PyJWK] = {}
        self._clock = clock
        self._keys: Mapping[str, PyJWK] | None = None
        self._read_at = clock.now()
        self._tried_at: Instant | None = None
        self._failure: KeysUnavailable | None = None
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> PyJWK | None:
        """The key, or `None` if the issuer has no such key.

        Raises:
            KeysUnavailable: the key is unknown or too old, and the key set cannot be read.
        """
        if self._is_due(key_id):
            reading = self._begin_reading()
            if self._failure is None or self._usable(key_id) is None:
                # A cancelled caller must not cancel the read, which other callers wait for.
                await asyncio.shield(reading)
        key = self._usable(key_id)
        if key is not None:
            return key
        if self._failure is not None:
            raise KeysUnavailable(str(self._failure)) from self._failure
        return None

    async def find_known(self, key_id: str) -> PyJWK | None:
        """The key, of any age; an unknown one is looked up as in `find`.

        Raises:
            KeysUnavailable: as `find` does.
        """
        known = self._keys if self._keys is not None else await self._unpacked()
        key = known.get(key_id)
        return key if key is not None else await self.find(key_id)

    async def _unpacked(self) -> Mapping[str, PyJWK]:
        async with self._unpacking:
            if self._packaged is not None:
                try:
                    document = await self._packaged.load()
                    self._packaged_keys = await asyncio.to_thread(_parse, document)
                except KeysUnavailable as error:
                    # They are only an optimization.
                    logger.warning("The packaged keys are ignored: %s", error)
                self._packaged = None
        return self._packaged_keys

    def _is_due(self, key_id: str) -> bool:
        is_known = self._usable(key_id) is not None
        if self._reading is not None:
            # A token with a known key need not wait for a read that another one requested.
            return not is_known
        if self._tried_at is None:
            return True
        since_tried = self._clock.seconds_since(self._tried_at)
        if self._failure is not None:
            return since_tried >= RETRY_AT_MOST_EVERY_S
        if is_known:
            return self._clock.seconds_since(self._read_at) >= REFRESH_AFTER_S
        return since_tried >= REREAD_AT_MOST_EVERY_S

    def _usable(self, key_id: str) -> PyJWK | None:
        if self._keys is None or self._clock.seconds_since(self._read_at) >= USABLE_FOR_S:
            return None
        return self._keys.get(key_id)

    def _begin_reading(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="read the issuer's keys")
        return self._reading

    async def _read(self) -> None:
        try:
            document = await self._source.load()
            # In a thread, because the first call imports `cryptography`.
            self._keys = await asyncio.to_thread(_parse, document)
            self._read_at = self._clock.now()
            self._failure = None
        except KeysUnavailable as error:
            logger.warning("The issuer's keys cannot be read: %s", error)
            self._failure = error
        finally:
            self._tried_at = self._clock.now()
            self._reading = None


def _parse(document: bytes) -> dict[str, PyJWK]:
    """The keys that can verify RS256 signatures; others are ignored."""
    import json

    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    try:
        described = json.loads(document)["keys"]
        keys = {
            jwk["kid"]: PyJWK(jwk, algorithm="RS256")
            for jwk in described
            if jwk.get("kty") == "RSA"
            and jwk.get("use", "sig") == "sig"
            and jwk.get("alg", "RS256") == "RS256"
            and isinstance(jwk.get("kid"), str)
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, PyJWTError) as error:
        raise KeysUnavailable(f"the key set is not a JWKS document ({type(error).__qualname__})") from error
    if not keys:
        raise KeysUnavailable("the key set holds no key for RS256")
    return keys
