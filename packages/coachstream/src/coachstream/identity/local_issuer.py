"""`LocalIssuer`: signs ID tokens on this machine, in Cognito's format.

The same code verifies its tokens and Cognito's, against a key set in a file. The issuer's name ends with
`.invalid` (RFC 2606), so that no deployment can trust it by accident.

Files in the data folder, written atomically:

    issuer-key.pem   the RSA private key, readable only by its owner, created when first needed
    jwks.json        the public key set, which verifiers read
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from coachstream.identity.keys import FileKeys
from coachstream.identity.verifier import ALGORITHM, USER_ID_CLAIM, JwtVerifier
from coachstream.private_files import make_private_folder, replace, write_once

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

LOCAL_ISSUER = "https://local-issuer.coachstream.invalid"
LOCAL_AUDIENCE = "coachstream-local"

_KEY_FILE = "issuer-key.pem"
_KEY_SET_FILE = "jwks.json"
_KEY_BITS = 2048

#: The namespace of `sub`s, so that a user's `sub` is stable, as in a user pool.
_SUBJECTS = uuid.uuid5(uuid.NAMESPACE_URL, LOCAL_ISSUER)


class IssuerKeyUnusable(Exception):
    """The issuer's private key cannot be read or created; the message has the remedy."""


class IssuedToken(msgspec.Struct, frozen=True):
    """An ID token and its expiry."""

    token: str
    expires_at: datetime


class LocalIssuer:
    """An issuer with its key in `data_dir`. Its methods use files: keep them off the event loop."""

    def __init__(self, data_dir: Path) -> None:
        """Store the folder; the key is created or read when first needed."""
        self._data_dir = data_dir
        self._key: RSAPrivateKey | None = None
        self._key_id = ""

    @staticmethod
    def has_key(data_dir: Path) -> bool:
        """Whether the folder already has an issuer's key."""
        return (data_dir / _KEY_FILE).exists()

    def ensure_keys(self) -> None:
        """Create the key if there is none, and write the key set.

        Concurrent processes agree on one key.

        Raises:
            IssuerKeyUnusable: the files cannot be read or written, or the key file has no RSA key.
        """
        path = self._data_dir / _KEY_FILE
        try:
            make_private_folder(self._data_dir)
            if not path.exists():
                write_once(path, _new_key())
            key = _read_key(path)
            key_id, jwk = _public_jwk(key)
            replace(self._data_dir / _KEY_SET_FILE, msgspec.json.encode({"keys": [jwk]}))
        except OSError as error:
            raise IssuerKeyUnusable(f"{error.filename or path} cannot be used: {error.strerror}.") from error
        self._key, self._key_id = key, key_id

    def issue(self, user_id: str, *, lifetime: timedelta = timedelta(hours=12)) -> IssuedToken:
        """Sign an ID token for a user of the application, valid for `lifetime` from now.

        Raises:
            IssuerKeyUnusable: as in `ensure_keys`.
        """
        import jwt

        if self._key is None:
            self.ensure_keys()
        assert self._key is not None  # noqa: S101 (for the type checker)
        issued_at = datetime.now(UTC).replace(microsecond=0)
        expires_at = issued_at + lifetime
        claims = {
            "sub": str(uuid.uuid5(_SUBJECTS, user_id)),
            "iss": LOCAL_ISSUER,
            "aud": LOCAL_AUDIENCE,
            "token_use": "id",
            "auth_time": int(issued_at.timestamp()),
            "iat": int(issued_at.timestamp()),
            "exp": int(expires_at.timestamp()),
            "jti": str(uuid.uuid4()),
            "cognito:username": user_id,
            USER_ID_CLAIM: user_id,
        }
        token = jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._key_id})
        return IssuedToken(token, expires_at)


def local_verifier(data_dir: Path) -> JwtVerifier:
    """The verifier for the tokens of the issuer in `data_dir`; it reads the key set at the first token."""
    return JwtVerifier(FileKeys(data_dir / _KEY_SET_FILE), issuer=LOCAL_ISSUER, audiences=(LOCAL_AUDIENCE,))


def _new_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_key(path: Path) -> RSAPrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise IssuerKeyUnusable(f"{path} holds no private key. Delete it, and a new one is made.") from error
    if not isinstance(key, RSAPrivateKey):
        raise IssuerKeyUnusable(f"{path} holds no RSA key. Delete it, and a new one is made.")
    return key


def _public_jwk(key: RSAPrivateKey) -> tuple[str, dict[str, Any]]:
    """The public key as a JWK, with its thumbprint as key id (RFC 7638), which is deterministic."""
    import hashlib

    from jwt.algorithms import RSAAlgorithm
    from jwt.utils import base64url_encode

    public: dict[str, Any] = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    required = msgspec.json.encode({name: public[name] for name in ("e", "kty", "n")})
    key_id = base64url_encode(hashlib.sha256(required).digest()).decode()
    jwk = {"kty": "RSA", "n": public["n"], "e": public["e"], "kid": key_id, "use": "sig", "alg": ALGORITHM}
    return key_id, jwk
