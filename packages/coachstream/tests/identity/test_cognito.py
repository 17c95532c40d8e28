"""The Cognito verifier: the contract, and tokens that moto's cognito-idp issued.

`support.cognito` describes how moto's tokens differ from Cognito's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import jwt
import pytest

from coachstream.conversation.errors import InvalidToken, MissingCustomUserId, TokenExpired
from coachstream.conversation.ports import TokenVerifier
from coachstream.freshness import REREAD_AT_MOST_EVERY_S, AgeClock
from coachstream.identity.cognito import cognito_verifier, keys_url, pool_issuer
from coachstream.identity.https_keys import HttpsKeys
from coachstream.identity.keys import KeysUnavailable
from coachstream.identity.verifier import JwtVerifier
from contracts.token_verifier import AUDIENCE, ISSUER, TokenVerifierContract, rsa_key
from contracts.token_verifier import UserPool as SigningPool
from support.cognito import UserPool
from support.key_server import KeyServer, Piece, document

REGION = "eu-central-1"
POOL_ID = ISSUER.rpartition("/")[2]


class TestCognitoVerifier(TokenVerifierContract):
    @pytest.fixture
    def verifier_of(self, keys_at: KeyServer) -> Callable[[SigningPool], TokenVerifier]:
        def verifier_of(pool: SigningPool) -> TokenVerifier:
            keys_at.answers = [document(pool.jwks())]
            return cognito_verifier(REGION, POOL_ID, [AUDIENCE], endpoint_url=keys_at.url)

        return verifier_of


@pytest.fixture
def pool(moto_url: str) -> Iterator[UserPool]:
    pool = UserPool(moto_url)
    pool.add_user("sam", "user-1")
    yield pool
    pool.close()


@pytest.fixture
def verifier(pool: UserPool, moto_url: str) -> TokenVerifier:
    return cognito_verifier(pool.region, pool.id, [pool.client_id], endpoint_url=moto_url)


async def test_a_users_id_token_is_an_identity(pool: UserPool, verifier: TokenVerifier) -> None:
    """The user id comes from the custom attribute, the subject from the pool."""
    token = pool.sign_in("sam").id
    identity = await verifier.verify(token)
    assert identity.user_id == "user-1"
    assert identity.subject == jwt.decode(token, options={"verify_signature": False})["sub"]


async def test_an_access_token_of_the_same_sign_in_is_refused(
    pool: UserPool, verifier: TokenVerifier
) -> None:
    """It names the client in another claim and serves other purposes."""
    with pytest.raises(InvalidToken):
        await verifier.verify(pool.sign_in("sam").access)


async def test_a_token_of_another_pool_is_refused(
    moto_url: str, pool: UserPool, verifier: TokenVerifier
) -> None:
    """Even if it is signed with the same key, which happens only with moto."""
    other = UserPool(moto_url)
    other.add_user("sam", "user-1")
    with pytest.raises(InvalidToken):
        await verifier.verify(other.sign_in("sam").id)
    other.close()
    same_name_elsewhere = cognito_verifier(REGION, other.id, [pool.client_id], endpoint_url=moto_url)
    with pytest.raises(InvalidToken):
        await same_name_elsewhere.verify(pool.sign_in("sam").id)


async def test_a_token_for_another_client_is_refused_until_the_client_is_named(
    moto_url: str, pool: UserPool, verifier: TokenVerifier
) -> None:
    """Every app client whose users may call must be configured."""
    mobile = pool.add_client()
    token = pool.sign_in("sam", client_id=mobile).id
    with pytest.raises(InvalidToken):
        await verifier.verify(token)
    both = cognito_verifier(REGION, pool.id, (pool.client_id, mobile), endpoint_url=moto_url)
    assert (await both.verify(token)).user_id == "user-1"
    assert (await both.verify(pool.sign_in("sam").id)).user_id == "user-1"


async def test_a_user_without_the_attribute_has_its_own_error(
    pool: UserPool, verifier: TokenVerifier
) -> None:
    """The user exists in the pool, but not yet in the application."""
    pool.add_user("new", None)
    with pytest.raises(MissingCustomUserId):
        await verifier.verify(pool.sign_in("new").id)


async def test_a_token_from_two_hours_ago_has_expired(
    pool: UserPool, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moto's clock is set back; its tokens are valid for an hour."""
    clock = SimpleNamespace(time=lambda: time.time() - 7200)
    monkeypatch.setattr("moto.cognitoidp.models.time", clock)
    with pytest.raises(TokenExpired):
        await verifier.verify(pool.sign_in("sam").id)


async def test_a_changed_token_is_refused(pool: UserPool, verifier: TokenVerifier) -> None:
    """With another user's id, or signed with another key."""
    token = pool.sign_in("sam").id
    header, _, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False}) | {"custom:user_id": "user-2"}
    forged = jwt.encode(claims, rsa_key(9), algorithm="RS256", headers={"kid": "dummy"})
    for changed in (forged, f"{header}.{forged.split('.')[1]}.{signature}"):
        with pytest.raises(InvalidToken):
            await verifier.verify(changed)


async def test_a_key_that_the_pool_does_not_have_is_refused(pool: UserPool, verifier: TokenVerifier) -> None:
    """A well-formed token that names an unknown key."""
    claims = jwt.decode(pool.sign_in("sam").id, options={"verify_signature": False})
    with pytest.raises(InvalidToken):
        await verifier.verify(jwt.encode(claims, rsa_key(9), algorithm="RS256", headers={"kid": "new"}))


async def test_a_rotated_key_is_fetched(keys_at: KeyServer) -> None:
    """By one request, at least 10 s after the last. Moto never rotates keys, so these are ours."""
    now = 1000.0
    pool = SigningPool()
    keys_at.answers = [document(pool.jwks())]
    keys = HttpsKeys(keys_at.url)
    verifier = JwtVerifier(keys, issuer=ISSUER, audiences=[AUDIENCE], clock=AgeClock(monotonic=lambda: now))
    await verifier.verify(pool.token())
    pool.key_numbers = [1, 2]
    keys_at.answers = [document(pool.jwks())]
    now += REREAD_AT_MOST_EVERY_S
    await verifier.verify(pool.token(key_number=2))
    await verifier.verify(pool.token())
    assert len(keys_at.requests) == 2


@pytest.mark.parametrize(
    "answer",
    [
        document(b"<html>", status="503 Out"),
        document(b"<html>not now</html>"),
        document(b'{"keys": []}'),
        document(b"x" * 100_000),
        document(b"", status="302 Found", headers="Location: https://example.invalid/\r\n"),
        [None],
    ],
    ids=["503", "garbage", "no keys", "huge", "redirect", "reset"],
)
async def test_without_the_pools_keys_every_token_is_refused(keys_at: KeyServer, answer: list[Piece]) -> None:
    """It is a server error, not the token's fault; concurrent requests share one fetch (single flight)."""
    keys_at.answers = [answer]
    verifier = cognito_verifier(REGION, POOL_ID, [AUDIENCE], endpoint_url=keys_at.url)
    asked = [verifier.verify(SigningPool().token()) for _ in range(20)]
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(end) for end in ends} == {KeysUnavailable}
    assert len(keys_at.requests) <= 2


async def test_many_first_tokens_cost_one_request(keys_at: KeyServer) -> None:
    """The keys are fetched once and cached."""
    pool = SigningPool()
    keys_at.answers = [document(pool.jwks())]
    verifier = cognito_verifier(REGION, POOL_ID, [AUDIENCE], endpoint_url=keys_at.url + "/")
    await asyncio.gather(*(verifier.verify(pool.token()) for _ in range(20)))
    [request] = keys_at.requests
    assert request.startswith(f"GET /{POOL_ID}/.well-known/jwks.json ")


def test_the_issuer_is_the_pools() -> None:
    """It equals the issuer in the pool's tokens; China's regions have their own domain."""
    assert pool_issuer(REGION, POOL_ID) == ISSUER
    assert pool_issuer("us-gov-west-1", "us-gov-west-1_a") == (
        "https://cognito-idp.us-gov-west-1.amazonaws.com/us-gov-west-1_a"
    )
    assert pool_issuer("cn-north-1", "cn-north-1_aB3") == (
        "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_aB3"
    )
    assert keys_url(REGION, POOL_ID) == f"{ISSUER}/.well-known/jwks.json"


@pytest.mark.parametrize(
    ("region", "pool_id", "client_ids", "complaint"),
    [
        ("", POOL_ID, [AUDIENCE], "AWS region"),
        ("Frankfurt", POOL_ID, [AUDIENCE], "AWS region"),
        ("eu-central-1.evil.example/", POOL_ID, [AUDIENCE], "AWS region"),
        (REGION, "", [AUDIENCE], "user pool id like eu-central-1_"),
        (REGION, "TestPool", [AUDIENCE], "user pool id"),
        (REGION, "eu-central-1_", [AUDIENCE], "user pool id"),
        (REGION, "eu-central-1_a/../b", [AUDIENCE], "user pool id"),
        (REGION, "us-west-2_TestPool", [AUDIENCE], "region us-west-2, not in eu-central-1"),
        (REGION, POOL_ID, [], "at least one app client"),
        (REGION, POOL_ID, AUDIENCE, "at least one app client"),
        (REGION, POOL_ID, [""], "not an app client id"),
        (REGION, POOL_ID, ["*"], "not an app client id"),
        (REGION, POOL_ID, [AUDIENCE, f" {AUDIENCE}"], "not an app client id"),
    ],
)
def test_what_is_missing_or_malformed_is_named_before_any_token_comes(
    region: str, pool_id: str, client_ids: list[str], complaint: str
) -> None:
    """A configuration error must never act as a wildcard."""
    with pytest.raises(ValueError, match=complaint):
        cognito_verifier(region, pool_id, client_ids)


def test_another_endpoint_must_be_one_that_keys_can_come_from() -> None:
    """An attacker who can inject keys can impersonate any user."""
    with pytest.raises(ValueError, match=r"endpoint 'http://cognito\.example'.*https"):
        cognito_verifier(REGION, POOL_ID, [AUDIENCE], endpoint_url="http://cognito.example")
