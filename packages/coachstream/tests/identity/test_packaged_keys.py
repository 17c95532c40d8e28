"""Packaged keys authenticate provisionally; only the pool's current keys grant access."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coachstream.conversation.errors import InvalidToken
from coachstream.conversation.model import Identity
from coachstream.conversation.ports import TokenVerifier
from coachstream.identity.cognito import cognito_verifier, fetch_jwks
from coachstream.identity.keys import KeysUnavailable
from coachstream.identity.packaged_keys import (
    LEAST_KEY_BITS,
    MAX_BYTES,
    PackagedKeys,
    PackagedKeySet,
    PackagedKeysUnusable,
    key_set,
)
from contracts.token_verifier import AUDIENCE, ISSUER, TokenVerifierContract, UserPool
from support.key_server import KeyServer, document

REGION, POOL_ID = "eu-central-1", ISSUER.rpartition("/")[2]


class ProvisionalVerifier:
    """Verifies provisionally, as a cold environment does before `start`."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def verify(self, token: str) -> Identity:
        return await self._verifier.authenticate_provisionally(token)

    authenticate_provisionally = verify


class TestProvisionalAuthenticationWithPackagedKeys(TokenVerifierContract):
    """A token that is not valid is no more valid under packaged keys."""

    @pytest.fixture
    def verifier_of(self, keys_at: KeyServer, tmp_path: Path) -> Callable[[UserPool], TokenVerifier]:
        return lambda pool: ProvisionalVerifier(verifier_for(pool, keys_at, tmp_path))


def verifier_for(pool: UserPool, keys_at: KeyServer, folder: Path) -> TokenVerifier:
    """A verifier with the pool's current keys in its package."""
    path = folder / "jwks.json"
    path.write_bytes(key_set(ISSUER, pool.jwks()).to_bytes())
    keys_at.answers = [document(pool.jwks())]
    return cognito_verifier(REGION, POOL_ID, [AUDIENCE], endpoint_url=keys_at.url, packaged_keys=path)


@pytest.fixture
def pool() -> UserPool:
    return UserPool()


@pytest.fixture
def verifier(pool: UserPool, keys_at: KeyServer, tmp_path: Path) -> TokenVerifier:
    return verifier_for(pool, keys_at, tmp_path)


async def test_provisional_authentication_sends_no_request(
    pool: UserPool, keys_at: KeyServer, verifier: TokenVerifier
) -> None:
    """Neither for a valid token nor for one that a packaged key refuses."""
    assert (await verifier.authenticate_provisionally(pool.token())).user_id == "user-1"
    with pytest.raises(InvalidToken):
        await verifier.authenticate_provisionally(pool.token(key_number=2, kid="key-1"))
    assert keys_at.requests == []


async def test_verification_asks_the_pool_once(
    pool: UserPool, keys_at: KeyServer, verifier: TokenVerifier
) -> None:
    """Whatever is packaged; later tokens, provisional ones included, need no further request."""
    for _ in range(3):
        await verifier.authenticate_provisionally(pool.token())
        await verifier.verify(pool.token())
    assert len(keys_at.requests) == 1


async def test_a_key_that_is_not_in_the_package_costs_one_request(
    pool: UserPool, keys_at: KeyServer, verifier: TokenVerifier
) -> None:
    """The pool has rotated its keys since; made-up key ids that follow cost no request."""
    pool.key_numbers = [1, 2]
    keys_at.answers = [document(pool.jwks())]
    await verifier.authenticate_provisionally(pool.token(key_number=2))
    await verifier.verify(pool.token(key_number=2))
    for number in range(20):
        with pytest.raises(InvalidToken):
            await verifier.authenticate_provisionally(pool.token(kid=f"made-up-{number}"))
    assert len(keys_at.requests) == 1


async def test_a_revoked_key_authenticates_provisionally_at_most(
    pool: UserPool, keys_at: KeyServer, verifier: TokenVerifier
) -> None:
    """Once the pool's keys are known, not even provisionally."""
    pool.key_numbers = [2]
    keys_at.answers = [document(pool.jwks())]
    await verifier.authenticate_provisionally(pool.token(key_number=1))
    with pytest.raises(InvalidToken):
        await verifier.verify(pool.token(key_number=1))
    with pytest.raises(InvalidToken):
        await verifier.authenticate_provisionally(pool.token(key_number=1))


async def test_without_the_pool_a_packaged_key_grants_no_access(
    pool: UserPool, keys_at: KeyServer, verifier: TokenVerifier
) -> None:
    """A packaged key is never taken for a current one: it may have been revoked."""
    keys_at.answers = [[None]]
    await verifier.authenticate_provisionally(pool.token())
    with pytest.raises(KeysUnavailable):
        await verifier.verify(pool.token())


@pytest.mark.parametrize("content", [None, b"", b'{"keys": []}'], ids=["absent", "empty", "no key"])
async def test_a_file_that_has_become_unusable_only_costs_time(
    keys_at: KeyServer, tmp_path: Path, pool: UserPool, verifier: TokenVerifier, content: bytes | None
) -> None:
    """It was valid when the environment started; authentication now waits for the pool."""
    path = tmp_path / "jwks.json"
    path.unlink() if content is None else path.write_bytes(content)
    await verifier.authenticate_provisionally(pool.token())
    assert len(keys_at.requests) == 1


async def test_what_is_fetched_can_be_packaged(pool: UserPool, keys_at: KeyServer, tmp_path: Path) -> None:
    """The file names the pool and has the same bytes for the same keys in any order."""
    pool.key_numbers = [2, 1]
    published = json.loads(pool.jwks())
    keys_at.answers = [document(pool.jwks())]
    one = await fetch_jwks(POOL_ID, endpoint_url=keys_at.url)
    published["keys"].reverse()
    keys_at.answers = [document(json.dumps(published).encode())]
    assert await fetch_jwks(POOL_ID, endpoint_url=keys_at.url) == one
    assert json.loads(one)["issuer"] == ISSUER
    assert [key["kid"] for key in json.loads(one)["keys"]] == ["key-1", "key-2"]
    path = tmp_path / "jwks.json"
    path.write_bytes(one)
    assert await PackagedKeys(path, ISSUER).load() == one


async def test_what_cannot_be_fetched_says_why(keys_at: KeyServer) -> None:
    """The person who builds a package sees the pool's response, or that the id is invalid."""
    keys_at.answers = [document(b"no such pool", status="404 Not Found")]
    with pytest.raises(KeysUnavailable, match="404"):
        await fetch_jwks(POOL_ID, endpoint_url=keys_at.url)
    keys_at.answers = [document(b"<html>")]
    with pytest.raises(PackagedKeysUnusable, match="not a JWKS document"):
        await fetch_jwks(POOL_ID, endpoint_url=keys_at.url)
    with pytest.raises(ValueError, match="AWS region"):
        await fetch_jwks("my-pool", endpoint_url=keys_at.url)


def packaged(**changes: object) -> bytes:
    """A file with one key, some of whose members are replaced."""
    [key] = json.loads(UserPool().jwks())["keys"]
    members = {name: value for name, value in {**key, **changes}.items() if value is not None}
    return json.dumps({"issuer": ISSUER, "keys": [members]}).encode()


SHORT = "A" + "_" * (LEAST_KEY_BITS // 8 * 4 // 3 - 3)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file"),
        (b"", "not a JWKS document"),
        (b"[]", "not a JWKS document"),
        (b'{"issuer": "x", "keys": 1}', "not a JWKS document"),
        (
            json.dumps({"issuer": ISSUER, "keys": ["?"]}).replace("?", "\xff").encode("latin-1"),
            "not a JWKS document",
        ),
        (UserPool().jwks(), "does not name its issuer"),
        (packaged().replace(b"TestPool", b"OtherPool"), f"holds the keys of .*OtherPool, not of {ISSUER}"),
        (json.dumps({"issuer": ISSUER, "keys": []}).encode(), "no key for RS256"),
        (json.dumps({"issuer": ISSUER, "keys": [1]}).encode(), "not a JWKS document"),
        (packaged(kty="EC"), "no key for RS256"),
        (packaged(use="enc"), "no key for RS256"),
        (packaged(alg="RS512"), "no key for RS256"),
        (packaged(kid=None), "no key for RS256"),
        (packaged(kid=7), "incomplete"),
        (packaged(n=None), "incomplete"),
        (packaged(n="!"), "not base64url"),
        (packaged(n=SHORT), "at least 2048 bits"),
        (packaged(e="AA"), "at least 2048 bits"),
        (packaged(d="AQAB"), "holds a private key"),
        (packaged(kty="oct", k="c2VjcmV0"), "holds a private key"),
        (b" " * (MAX_BYTES + 1), f"more than {MAX_BYTES} bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    """The error contains nothing of a key."""
    path = tmp_path / "jwks.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PackagedKeysUnusable, match=complaint) as refused:
        PackagedKeys(path, ISSUER).check()
    assert json.loads(UserPool().jwks())["keys"][0]["n"] not in str(refused.value)


def test_two_keys_of_one_name_are_refused() -> None:
    """Which of them applies would be arbitrary."""
    [key] = json.loads(UserPool().jwks())["keys"]
    with pytest.raises(PackagedKeysUnusable, match="same id"):
        key_set(ISSUER, json.dumps({"keys": [key, key]}).encode())


@given(
    content=st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["RSA", "AQAB", "sig"]),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["keys", "issuer", "kty", "kid", "n", "e", "use"]), inner)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
@example(content=b'{"keys":' * 5000)
@example(content=UserPool().jwks())
def test_any_document_is_packaged_or_refused(content: bytes) -> None:
    """A packaged document is the same when it is read again."""
    try:
        keys = key_set(ISSUER, content)
    except PackagedKeysUnusable:
        return
    assert msgspec.json.decode(keys.to_bytes(), type=PackagedKeySet) == keys
    assert key_set(ISSUER, keys.to_bytes()) == keys
