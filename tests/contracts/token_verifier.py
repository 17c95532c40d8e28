"""What every `TokenVerifier` must do, wherever it gets the issuer's keys from.

A subclass provides `verifier_of`, a fixture that gives a verifier for a user pool of this module:

    class TestMine(TokenVerifierContract):
        @pytest.fixture
        def verifier_of(self) -> Callable[[UserPool], TokenVerifier]: ...
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from functools import cache

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from coachstream.conversation.errors import (
    AuthenticationError,
    InvalidToken,
    InvalidTokenFormat,
    MissingCustomUserId,
    TokenExpired,
)
from coachstream.conversation.model import Identity
from coachstream.conversation.ports import TokenVerifier

ISSUER = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_TestPool"
AUDIENCE = "1example23456789"


@cache
def rsa_key(number: int) -> RSAPrivateKey:  # noqa: ARG001 (the cache key)
    """A test key; equal numbers give equal keys."""
    return generate_private_key(public_exponent=65537, key_size=2048)


class UserPool:
    """An issuer that signs whatever a test asks for."""

    def __init__(self) -> None:
        self.key_numbers = [1]

    def jwks(self) -> bytes:
        """The key set as the pool publishes it."""
        keys = [
            RSAAlgorithm.to_jwk(rsa_key(number).public_key(), as_dict=True)
            | {"kid": f"key-{number}", "use": "sig", "alg": "RS256"}
            for number in self.key_numbers
        ]
        return json.dumps({"keys": keys}).encode()

    def claims(self, changes: Mapping[str, object] | None = None) -> dict[str, object]:
        """An ID token's claims; a change to `None` leaves the claim out."""
        now = int(time.time())
        claims: dict[str, object] = {
            "sub": "0e3f-subject",
            "iss": ISSUER,
            "aud": AUDIENCE,
            "token_use": "id",
            "iat": now - 60,
            "auth_time": now - 60,
            "exp": now + 3600,
            "cognito:username": "sam",
            "custom:user_id": "user-1",
        }
        return {name: value for name, value in {**claims, **(changes or {})}.items() if value is not None}

    def token(
        self,
        changes: Mapping[str, object] | None = None,
        *,
        key_number: int = 1,
        kid: str | None = None,
        headers: Mapping[str, object] | None = None,
    ) -> str:
        """A signed ID token with changed claims."""
        header = {"alg": "RS256", "kid": kid or f"key-{key_number}", **(headers or {})}
        return sign(header, self.claims(changes), rsa_key(key_number))


def sign(header: object, payload: object, key: RSAPrivateKey) -> str:
    """Sign any header and payload with RS256, by hand, because no library signs malformed ones."""
    signed = f"{encode_part(header)}.{encode_part(payload)}"
    return f"{signed}.{encode_part(RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed.encode(), key))}"


def encode_part(value: object) -> str:
    """Encode a part of a JWT."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


class TokenVerifierContract:
    """Valid tokens yield identities; every other text is refused with the right error."""

    @pytest.fixture
    def pool(self) -> UserPool:
        return UserPool()

    @pytest.fixture
    def verifier(self, pool: UserPool, verifier_of: Callable[[UserPool], TokenVerifier]) -> TokenVerifier:
        return verifier_of(pool)

    async def test_a_good_token_is_an_identity(self, pool: UserPool, verifier: TokenVerifier) -> None:
        """The identity has the application's user id and the pool's subject, on every call."""
        for _ in range(3):
            assert await verifier.verify(pool.token()) == Identity(user_id="user-1", subject="0e3f-subject")

    async def test_a_wrong_signature_is_refused(self, pool: UserPool, verifier: TokenVerifier) -> None:
        """The token is signed by another key under a known id, changed after signing, or truncated."""
        good = pool.token()
        header, payload, signature = good.split(".")
        other_user = encode_part(pool.claims({"custom:user_id": "user-2"}))
        for forged in (
            pool.token(key_number=2, kid="key-1"),
            f"{header}.{other_user}.{signature}",
            f"{header}.{payload}.{signature[:-8]}",
            f"{header}.{payload}.",
            f"{header}.{payload}.{encode_part(b'x' * 256)}",
        ):
            with pytest.raises(InvalidToken):
                await verifier.verify(forged)
        await verifier.verify(good)

    async def test_the_algorithm_none_is_refused(self, pool: UserPool, verifier: TokenVerifier) -> None:
        """This holds for any spelling of `none` and any signature."""
        payload = encode_part(pool.claims())
        for algorithm in ("none", "None", "NONE", ""):
            header = encode_part({"alg": algorithm, "kid": "key-1", "typ": "JWT"})
            for signature in ("", encode_part(b"x")):
                with pytest.raises(InvalidToken):
                    await verifier.verify(f"{header}.{payload}.{signature}")

    async def test_an_hmac_with_the_public_key_is_refused(
        self, pool: UserPool, verifier: TokenVerifier
    ) -> None:
        """As an HS256 secret a public key proves nothing (algorithm confusion)."""
        public_key = rsa_key(1).public_key()
        secrets = (
            public_key.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
            public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
            pool.jwks(),
        )
        signed = f"{encode_part({'alg': 'HS256', 'kid': 'key-1'})}.{encode_part(pool.claims())}"
        for secret in secrets:
            signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
            with pytest.raises(InvalidToken):
                await verifier.verify(f"{signed}.{encode_part(signature)}")

    @pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
    async def test_other_algorithms_with_the_right_key_are_refused(
        self, pool: UserPool, verifier: TokenVerifier, algorithm: str
    ) -> None:
        """Only RS256, the pool's algorithm, is accepted."""
        token = jwt.encode(pool.claims(), rsa_key(1), algorithm=algorithm, headers={"kid": "key-1"})
        with pytest.raises(InvalidToken):
            await verifier.verify(token)

    @pytest.mark.parametrize(
        "changes",
        [
            {"iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_OtherPool"},
            {"iss": ISSUER + "/"},
            {"iss": ISSUER[:-1]},
            {"iss": ""},
            {"iss": None},
            {"iss": [ISSUER]},
            {"iss": {ISSUER: 1}},
            {"aud": "another-client"},
            {"aud": None},
            {"aud": []},
            {"aud": {"a": AUDIENCE}},
            {"token_use": "access"},
            {"token_use": None},
            {"token_use": ["id"]},
            {"sub": None},
            {"sub": ""},
            {"sub": 7},
            {"exp": None},
            {"exp": "tomorrow"},
            {"exp": 1e400},
            {"nbf": 4_102_444_800},
        ],
        ids=str,
    )
    async def test_a_wrong_claim_is_refused(
        self, pool: UserPool, verifier: TokenVerifier, changes: dict[str, object]
    ) -> None:
        """Even with a valid signature, issuer, audience, use, subject and times must be correct."""
        with pytest.raises(InvalidToken):
            await verifier.verify(pool.token(changes))

    @pytest.mark.parametrize(
        "headers",
        [
            {"crit": ["b64"], "b64": True},
            {"crit": ["x-binding"], "x-binding": "other"},
            {"crit": ["exp"]},
            {"crit": []},
            {"crit": None},
            {"crit": "alg"},
        ],
        ids=str,
    )
    async def test_a_token_with_critical_extensions_is_refused(
        self, pool: UserPool, verifier: TokenVerifier, headers: Mapping[str, object]
    ) -> None:
        """Critical extensions must be understood, and we support none (RFC 7515, section 4.1.11)."""
        with pytest.raises(InvalidToken):
            await verifier.verify(pool.token(headers=headers))

    async def test_an_access_token_is_refused(self, pool: UserPool, verifier: TokenVerifier) -> None:
        """It has no audience and another use, so it is refused even if it contains a user id."""
        token = pool.token({"aud": None, "client_id": AUDIENCE, "token_use": "access", "scope": "openid"})
        with pytest.raises(InvalidToken):
            await verifier.verify(token)

    async def test_an_expired_token_has_its_own_error(self, pool: UserPool, verifier: TokenVerifier) -> None:
        """A client then knows to refresh it; a few seconds of clock skew are tolerated, a minute is not."""
        with pytest.raises(TokenExpired):
            await verifier.verify(pool.token({"exp": int(time.time()) - 60}))
        await verifier.verify(pool.token({"exp": int(time.time()) - 2}))

    @pytest.mark.parametrize("user_id", [None, "", "  ", 7, ["user-1"], {"a": 1}], ids=str)
    async def test_a_token_without_an_application_user_has_its_own_error(
        self, pool: UserPool, verifier: TokenVerifier, user_id: object
    ) -> None:
        """The sign-in is valid, but the account is not set up."""
        with pytest.raises(MissingCustomUserId):
            await verifier.verify(pool.token({"custom:user_id": user_id}))

    async def test_a_key_that_is_not_the_issuers_is_refused(
        self, pool: UserPool, verifier: TokenVerifier
    ) -> None:
        """This holds even if the token includes the key, or a URL to fetch it from."""
        own_key = RSAAlgorithm.to_jwk(rsa_key(2).public_key(), as_dict=True)
        for headers in ({}, {"jwk": own_key}, {"jku": "https://example.invalid/jwks.json"}):
            with pytest.raises(InvalidToken):
                await verifier.verify(pool.token(key_number=2, headers=headers))
        unnamed = jwt.encode(pool.claims(), rsa_key(1), algorithm="RS256")
        with pytest.raises(InvalidToken):
            await verifier.verify(unnamed)

    @pytest.mark.parametrize(
        "text",
        [
            *("", "junk", "not a token", "a.b", "a.b.c.d", "..", "a..c", "\ud800", "é.é.é", "a.b.c\n"),
            "x" * 100_000,
            f"{encode_part(b'[')}.e30.e30",
            f"{encode_part([1])}.e30.e30",
            f"{encode_part({'alg': 1})}.e30.e30",
            f"{encode_part(b'[' * 9000)}.e30.e30",
            f"{encode_part(b'{0xff: 1}')}.e30.e30",
        ],
        ids=lambda text: ascii(text[:20]),
    )
    async def test_text_that_is_not_a_jwt_has_its_own_error(self, verifier: TokenVerifier, text: str) -> None:
        """The text lacks dots, has invalid characters or a header that is not a JWT's JSON object."""
        with pytest.raises(InvalidTokenFormat):
            await verifier.verify(text)

    @settings(
        max_examples=150,
    )
    @given(text=st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,9}"))
    @example(text="e30.e30.e30")
    async def test_no_text_raises_anything_else(self, verifier: TokenVerifier, text: str) -> None:
        """Any text is refused as an authentication error."""
        with pytest.raises(AuthenticationError):
            await verifier.verify(text)

    @settings(
        max_examples=100,
    )
    @given(
        header=st.dictionaries(
            st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip", "jwk"]),
            st.sampled_from(["RS256", "key-1", "none", "", 1, None, True, ["b64"], {}]),
        ),
        payload=st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
    async def test_no_header_or_payload_raises_anything_else(
        self, verifier: TokenVerifier, header: object, payload: object
    ) -> None:
        """Malformed headers and payloads with a valid signature are refused as authentication errors."""
        with pytest.raises(AuthenticationError):
            await verifier.verify(sign(header, payload, rsa_key(1)))
