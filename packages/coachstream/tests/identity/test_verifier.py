"""The verifier with keys from a file: how it reads, caches and refreshes them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coachstream.conversation.errors import InvalidToken, ProcessingError
from coachstream.freshness import REFRESH_AFTER_S, REREAD_AT_MOST_EVERY_S, USABLE_FOR_S, AgeClock
from coachstream.identity.key_cache import RETRY_AT_MOST_EVERY_S
from coachstream.identity.keys import FileKeys, KeysUnavailable
from coachstream.identity.verifier import JwtVerifier
from contracts.token_verifier import AUDIENCE, ISSUER, TokenVerifierContract, UserPool, encode_part


class TestVerifierWithKeysFromAFile(TokenVerifierContract):
    @pytest.fixture
    def verifier_of(self, tmp_path: Path) -> Callable[[UserPool], JwtVerifier]:
        def verifier_of(pool: UserPool) -> JwtVerifier:
            path = tmp_path / "jwks.json"
            path.write_bytes(pool.jwks())
            return JwtVerifier(FileKeys(path), issuer=ISSUER, audiences=(AUDIENCE,))

        return verifier_of


class PublishedKeys:
    """A key source that counts its reads, and can fail or be blocked."""

    def __init__(self, pool: UserPool) -> None:
        self.pool = pool
        self.readings = 0
        self.failure: KeysUnavailable | None = None
        self.document: bytes | None = None
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self) -> bytes:
        self.readings += 1
        self.began.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.pool.jwks() if self.document is None else self.document


class Stopwatch:
    """Two clocks: `now` is the monotonic one, `wall` the wall clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = 1_795_432_823.0
        self.clock = AgeClock(monotonic=lambda: self.now, wall=lambda: self.wall)


@pytest.fixture
def pool() -> UserPool:
    return UserPool()


@pytest.fixture
def keys(pool: UserPool) -> PublishedKeys:
    return PublishedKeys(pool)


@pytest.fixture
def watch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def verifier(keys: PublishedKeys, watch: Stopwatch) -> JwtVerifier:
    return JwtVerifier(keys, issuer=ISSUER, audiences=("other", AUDIENCE), clock=watch.clock)


async def test_keys_are_read_once(pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier) -> None:
    """Not before the first token, and not again for later ones."""
    assert keys.readings == 0
    for _ in range(5):
        await verifier.verify(pool.token())
    assert keys.readings == 1


async def test_many_first_tokens_share_one_reading(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier
) -> None:
    """Fifty tokens at a cold start wait for the same read (single flight)."""
    keys.gate.clear()
    waiting = [asyncio.create_task(verifier.verify(pool.token())) for _ in range(50)]
    await keys.began.wait()
    keys.gate.set()
    await asyncio.gather(*waiting)
    assert keys.readings == 1


async def test_a_cancelled_request_does_not_cancel_the_shared_read(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier
) -> None:
    """The first request is cancelled; the second, waiting for the same keys, still gets them."""
    keys.gate.clear()
    first = asyncio.create_task(verifier.verify(pool.token()))
    second = asyncio.create_task(verifier.verify(pool.token()))
    await keys.began.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    keys.gate.set()
    assert (await second).user_id == "user-1"
    assert keys.readings == 1


async def test_a_new_key_is_found_by_one_refresh(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier, watch: Stopwatch
) -> None:
    """After a rotation the first tokens of the new key share one read; old tokens stay valid."""
    await verifier.verify(pool.token())
    pool.key_numbers = [1, 2]
    watch.now += REREAD_AT_MOST_EVERY_S
    await asyncio.gather(*(verifier.verify(pool.token(key_number=2)) for _ in range(20)))
    await verifier.verify(pool.token())
    assert keys.readings == 2


async def test_made_up_key_ids_do_not_flood_the_issuer(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier, watch: Stopwatch
) -> None:
    """A hundred unknown key ids cost one read every ten seconds."""
    for span in (1, 2, 3):
        for number in range(100):
            with pytest.raises(InvalidToken):
                await verifier.verify(pool.token(kid=f"made-up-{number}"))
        assert keys.readings == span
        watch.now += REREAD_AT_MOST_EVERY_S


async def test_good_tokens_do_not_wait_for_a_forgers_refresh(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier, watch: Stopwatch
) -> None:
    """While the keys are refreshed for an unknown id, known keys still verify."""
    await verifier.verify(pool.token())
    watch.now += REREAD_AT_MOST_EVERY_S
    keys.gate.clear()
    keys.began.clear()
    forged = asyncio.create_task(verifier.verify(pool.token(kid="made-up")))
    await keys.began.wait()
    assert (await verifier.verify(pool.token())).user_id == "user-1"
    keys.gate.set()
    with pytest.raises(InvalidToken):
        await forged


async def test_a_revoked_key_is_not_trusted_for_ever(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier, watch: Stopwatch
) -> None:
    """The key set is refreshed after an hour, and removed keys no longer verify."""
    await verifier.verify(pool.token())
    pool.key_numbers = [2]
    watch.now += REFRESH_AFTER_S
    with pytest.raises(InvalidToken):
        await verifier.verify(pool.token())
    assert keys.readings == 2


async def test_without_keys_every_token_is_refused(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier, watch: Stopwatch
) -> None:
    """An unreachable issuer is a server error, retried after a second, not the token's fault."""
    keys.failure = KeysUnavailable("no route")
    for _ in range(3):
        with pytest.raises(ProcessingError):
            await verifier.verify(pool.token())
    assert keys.readings == 1
    keys.failure = None
    watch.now += RETRY_AT_MOST_EVERY_S
    await verifier.verify(pool.token())


async def test_known_keys_outlive_an_issuer_that_is_away(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier, watch: Stopwatch
) -> None:
    """If the hourly refresh fails, the cached keys continue to verify."""
    await verifier.verify(pool.token())
    keys.failure = KeysUnavailable("no route")
    watch.now += REFRESH_AFTER_S
    await verifier.verify(pool.token())
    assert keys.readings == 2


async def test_known_keys_do_not_outlive_a_day_without_the_issuer(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier, watch: Stopwatch
) -> None:
    """Otherwise an attacker who blocks the refresh could keep a revoked key trusted; it fails closed."""
    await verifier.verify(pool.token())
    keys.failure = KeysUnavailable("no route")
    watch.now += USABLE_FOR_S - 1
    await verifier.verify(pool.token())
    watch.now += 1
    for _ in range(2):
        with pytest.raises(KeysUnavailable, match="no route"):
            await verifier.verify(pool.token())
    keys.failure = None
    watch.now += RETRY_AT_MOST_EVERY_S
    await verifier.verify(pool.token())


@pytest.mark.parametrize("stopped", ["now", "wall"])
async def test_an_environment_that_was_frozen_for_a_day_trusts_no_key_of_before(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier, watch: Stopwatch, stopped: str
) -> None:
    """If one clock stood still or was set back, the other one reveals the keys' age."""
    await verifier.verify(pool.token())
    keys.failure = KeysUnavailable("no route")
    watch.now += USABLE_FOR_S if stopped == "wall" else 0
    watch.wall += USABLE_FOR_S if stopped == "now" else -3600
    with pytest.raises(KeysUnavailable):
        await verifier.verify(pool.token())


async def test_a_good_token_does_not_wait_while_the_issuer_is_away(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier, watch: Stopwatch
) -> None:
    """One token detects the outage; during later retries the others are verified at once."""
    await verifier.verify(pool.token())
    keys.failure = KeysUnavailable("no route")
    watch.now += REFRESH_AFTER_S
    await verifier.verify(pool.token())
    keys.gate.clear()
    watch.now += RETRY_AT_MOST_EVERY_S
    await verifier.verify(pool.token())
    keys.began.clear()
    await keys.began.wait()
    pool.key_numbers = [2]
    keys.failure = None
    keys.gate.set()
    await until_refused(verifier, pool.token())
    assert keys.readings == 3


async def until_refused(verifier: JwtVerifier, token: str) -> None:
    """Wait for the refresh in progress: its keys refuse the token."""
    while True:
        try:
            await verifier.verify(token)
        except InvalidToken:
            return
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys": 1}',
        b'{"keys": [1]}',
        b'{"keys": []}',
        b'{"keys": [{"kty": "RSA"}]}',
    ],
    ids=repr,
)
async def test_what_is_no_key_set_is_refused(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier, document: bytes
) -> None:
    """An error page, or a set without a usable key, verifies no token."""
    keys.document = document
    with pytest.raises(KeysUnavailable):
        await verifier.verify(pool.token())


async def test_keys_for_other_uses_are_left_out(
    pool: UserPool, keys: PublishedKeys, verifier: JwtVerifier
) -> None:
    """Encryption keys, HMAC secrets and elliptic curves in the set are ignored."""
    good = pool.jwks().decode()
    others = (
        '{"kty":"oct","kid":"key-2","k":"' + encode_part(b"secret") + '","alg":"HS256"},'
        '{"kty":"EC","kid":"key-3","crv":"P-256","x":"AA","y":"AA"},'
        '{"kty":"RSA","kid":"key-4","use":"enc","n":"AQAB","e":"AQAB"},'
    )
    keys.document = good.replace("[", "[" + others, 1).encode()
    assert (await verifier.verify(pool.token())).user_id == "user-1"
    with pytest.raises(InvalidToken):
        await verifier.verify(pool.token(kid="key-2"))


async def test_a_missing_key_file_says_what_makes_one(tmp_path: Path) -> None:
    """The error names the file and the commands that create it."""
    with pytest.raises(KeysUnavailable, match=r"jwks\.json.*coachstream serve"):
        await FileKeys(tmp_path / "jwks.json").load()
    with pytest.raises(KeysUnavailable, match="cannot be read"):
        await FileKeys(tmp_path).load()


@pytest.mark.parametrize(
    ("issuer", "audiences"), [("", ("a",)), ("i", ()), ("i", ("",)), ("i", "audience")], ids=str
)
def test_a_verifier_that_would_check_nothing_cannot_be_made(
    keys: PublishedKeys, issuer: str, audiences: tuple[str, ...]
) -> None:
    """An empty issuer or audience is a configuration error, not a wildcard."""
    with pytest.raises(ValueError, match="issuer and at least one audience"):
        JwtVerifier(keys, issuer=issuer, audiences=audiences)


def test_importing_the_verifier_does_not_import_the_cryptography() -> None:
    """A function's module loads without PyJWT and cryptography, which are imported with the first token."""
    program = (
        "import sys, coachstream.identity.verifier, coachstream.identity.local_issuer;"
        "print([name for name in ('jwt', 'cryptography') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
