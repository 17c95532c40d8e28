"""A user pool's keys in the package, so that a cold environment can send `start` without a network call.

Security model. The deployment reads the keys from the pool over TLS, and changing them on Lambda requires the
same access as changing the code. So a signature under a packaged key was the pool's when the package was
built; but the pool may have revoked the key since, and a package may be used for months. Hence:

- A packaged key provides only provisional authentication: it allows `start`, which reveals no user data and
  costs nothing.
- Before anything is read, written or billed, the token is verified again with the pool's current keys
  (`JwtVerifier.verify`). They are read over the network once per environment, while the SDK loads, and again
  every hour (`freshness`); packaged keys are never among them. A revoked key ends the stream with
  `INVALID_TOKEN`, and an unreachable pool ends it with a retryable error: the same as without packaged keys.
- A key id that is not in the package is first looked up in the pool, with the usual rate limit (`key_cache`).

So an outdated package weakens nothing, and no rebuild is needed when keys rotate: `start` then waits for the
pool, and that is the only effect. The file is a JWKS document (RFC 7517, section 5, which allows additional
members) that names its issuer. A file of another issuer, without a usable key, or with a private key is
rejected when the environment starts, not at a user's request.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from pathlib import Path

import msgspec

from coachstream.identity.keys import KeysUnavailable

MAX_BYTES = 65_536
"""A user pool's key set has about 900 bytes."""

LEAST_KEY_BITS = 2048
"""RFC 7518, section 3.3: the minimum length of a key for RS256."""

_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1: members of private keys."""


class PackagedKeysUnusable(ValueError):
    """A packaged key set cannot be used; the message says why, without any key material."""


class PackagedKey(msgspec.Struct, frozen=True):
    """An RSA public key; the members of RFC 7517, section 4, and RFC 7518, section 6.3.1."""

    kid: str
    kty: str
    n: str
    e: str
    alg: str = "RS256"
    use: str = "sig"


class _KeySet(msgspec.Struct, frozen=True):
    keys: tuple[msgspec.Raw, ...]
    issuer: str | None = None


class PackagedKeySet(msgspec.Struct, frozen=True):
    """The content of the file: one issuer's keys that sign ID tokens, in the order of their ids."""

    issuer: str
    keys: tuple[PackagedKey, ...]

    def to_bytes(self) -> bytes:
        """Encode the file; the same keys give the same bytes."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


class PackagedKeys:
    """The `KeySource` of a packaged key set."""

    def __init__(self, path: Path, issuer: str) -> None:
        """Store the path, and the issuer that the file must name."""
        self._path = path
        self._issuer = issuer

    def check(self) -> None:
        """Read and validate the file.

        Raises:
            PackagedKeysUnusable: the file is missing, is not a key set, or is another issuer's.
        """
        self._read()

    async def load(self) -> bytes:
        """Read the file, in a thread.

        Raises:
            KeysUnavailable: the file cannot be used.
        """
        try:
            return await asyncio.to_thread(self._read)
        except PackagedKeysUnusable as error:
            raise KeysUnavailable(f"the packaged keys: {error}") from error

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                document = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise PackagedKeysUnusable(f"{self._path} cannot be read: {error.strerror}") from error
        issuer = _decoded(document).issuer
        if issuer is None:
            raise PackagedKeysUnusable(f"{self._path} does not name its issuer")
        if issuer != self._issuer:
            raise PackagedKeysUnusable(f"{self._path} holds the keys of {issuer}, not of {self._issuer}")
        return key_set(issuer, document).to_bytes()


def key_set(issuer: str, document: bytes) -> PackagedKeySet:
    """Select the keys of a JWKS document that can be packaged; keys for other uses are omitted.

    Raises:
        PackagedKeysUnusable: it is not such a document, has a private key, or has no key for RS256.
    """
    keys = [key for raw in _decoded(document).keys if (key := _signing_key(raw)) is not None]
    if not keys:
        raise PackagedKeysUnusable("the key set holds no key for RS256")
    if len({key.kid for key in keys}) < len(keys):
        raise PackagedKeysUnusable("two keys of the key set have the same id")
    return PackagedKeySet(issuer, tuple(sorted(keys, key=lambda key: key.kid)))


def _decoded(document: bytes) -> _KeySet:
    if len(document) > MAX_BYTES:
        raise PackagedKeysUnusable(f"the key set has more than {MAX_BYTES} bytes")
    try:
        return msgspec.json.decode(document, type=_KeySet)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise PackagedKeysUnusable("the key set is not a JWKS document") from error


def _signing_key(raw: msgspec.Raw) -> PackagedKey | None:
    try:
        members = msgspec.json.decode(raw, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise PackagedKeysUnusable("the key set is not a JWKS document") from error
    if _PRIVATE_MEMBERS & members.keys():
        raise PackagedKeysUnusable("the key set holds a private key")
    if (
        members.get("kty") != "RSA"
        or members.get("use", "sig") != "sig"
        or members.get("alg", "RS256") != "RS256"
        or "kid" not in members
    ):
        return None
    try:
        key = msgspec.convert(members, PackagedKey)
    except msgspec.ValidationError as error:
        raise PackagedKeysUnusable("a key of the key set is incomplete") from error
    modulus, exponent = _number(key.n), _number(key.e)
    if modulus.bit_length() < LEAST_KEY_BITS or modulus % 2 == 0 or exponent <= 1 or exponent % 2 == 0:
        raise PackagedKeysUnusable("a key of the key set is no RSA key of at least 2048 bits")
    return key


def _number(encoded: str) -> int:
    """`Base64urlUInt` (RFC 7518, section 2)."""
    try:
        text = encoded.encode("ascii")
        return int.from_bytes(base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True), "big")
    except (binascii.Error, ValueError) as error:
        raise PackagedKeysUnusable("a key of the key set is not base64url") from error
