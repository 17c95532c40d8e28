"""The local issuer: its files, its tokens, and concurrent start-up of many processes."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from coachstream.conversation.errors import InvalidToken, TokenExpired
from coachstream.identity.local_issuer import (
    LOCAL_AUDIENCE,
    LOCAL_ISSUER,
    IssuerKeyUnusable,
    LocalIssuer,
    local_verifier,
)
from contracts.token_verifier import UserPool
from support.patience import PATIENCE_S


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_its_tokens_pass_the_verification(folder: Path) -> None:
    """A local token verifies as an identity with its user; the subject is stable."""
    issuer = LocalIssuer(folder)
    first = await asyncio.to_thread(issuer.issue, "demo user/ü")
    second = await asyncio.to_thread(issuer.issue, "demo user/ü")
    verifier = local_verifier(folder)
    identity = await verifier.verify(first.token)
    assert identity.user_id == "demo user/ü"
    assert identity == await verifier.verify(second.token)
    assert first.token != second.token


def test_a_token_says_until_when_it_is_good(folder: Path) -> None:
    """The lifetime starts now, and the claims agree with the returned expiry."""
    before = datetime.now(UTC)
    issued = LocalIssuer(folder).issue("u", lifetime=timedelta(hours=2))
    claims = jwt.decode(issued.token, options={"verify_signature": False})
    assert (
        timedelta(hours=2) - timedelta(seconds=1)
        <= issued.expires_at - before
        <= timedelta(hours=2, seconds=5)
    )
    assert claims["exp"] == issued.expires_at.timestamp()
    assert (claims["iss"], claims["aud"], claims["token_use"]) == (LOCAL_ISSUER, LOCAL_AUDIENCE, "id")


async def test_an_expired_token_of_its_own_is_expired(folder: Path) -> None:
    """The local issuer gets no exception."""
    issued = await asyncio.to_thread(LocalIssuer(folder).issue, "u", lifetime=timedelta(minutes=-1))
    with pytest.raises(TokenExpired):
        await local_verifier(folder).verify(issued.token)


async def test_tokens_of_another_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    """Each folder has its own key; a user pool's tokens are refused as well."""
    await asyncio.to_thread(LocalIssuer(folder).ensure_keys)
    stranger = await asyncio.to_thread(LocalIssuer(tmp_path / "other").issue, "u")
    for token in (stranger.token, UserPool().token()):
        with pytest.raises(InvalidToken):
            await local_verifier(folder).verify(token)


async def test_a_second_start_keeps_the_key(folder: Path) -> None:
    """Tokens outlive a restart."""
    issued = await asyncio.to_thread(LocalIssuer(folder).issue, "u")
    await asyncio.to_thread(LocalIssuer(folder).ensure_keys)
    await local_verifier(folder).verify(issued.token)


async def test_a_lost_key_set_is_written_again(folder: Path) -> None:
    """Only the private key must be preserved."""
    issued = await asyncio.to_thread(LocalIssuer(folder).issue, "u")
    _remove(folder / "jwks.json")
    await asyncio.to_thread(LocalIssuer(folder).ensure_keys)
    await local_verifier(folder).verify(issued.token)


def test_the_private_key_is_the_owners_only(folder: Path) -> None:
    """Other users can neither read the key nor list the folder; the key set holds nothing private."""
    LocalIssuer(folder).ensure_keys()
    assert stat.S_IMODE((folder / "issuer-key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    [key] = json.loads((folder / "jwks.json").read_bytes())["keys"]
    assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}
    assert sorted(entry.name for entry in folder.iterdir()) == ["issuer-key.pem", "jwks.json"]


def test_processes_that_start_together_agree_on_one_key(folder: Path) -> None:
    """Six processes create the key at once: there is one key, and all of them use it."""
    program = (
        "import sys, pathlib; from coachstream.identity.local_issuer import LocalIssuer;"
        "issuer = LocalIssuer(pathlib.Path(sys.argv[1])); import jwt; sys.stdin.readline();"
        "print(jwt.get_unverified_header(issuer.issue('u').token)['kid'])"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    # Send each a line, so that they start together once their imports are done.
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    key_ids = {process.communicate(timeout=PATIENCE_S)[0].strip() for process in processes}
    [published] = json.loads((folder / "jwks.json").read_bytes())["keys"]
    assert key_ids == {published["kid"]}
    assert sorted(entry.name for entry in folder.iterdir()) == ["issuer-key.pem", "jwks.json"]


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_named_and_kept(folder: Path, content: bytes) -> None:
    """The error says which file to delete; nothing is overwritten."""
    folder.mkdir()
    (folder / "issuer-key.pem").write_bytes(content)
    with pytest.raises(IssuerKeyUnusable, match=r"issuer-key\.pem holds no private key\. Delete it"):
        LocalIssuer(folder).ensure_keys()
    assert (folder / "issuer-key.pem").read_bytes() == content


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file exists at the folder's path."""
    (tmp_path / "data").write_text("")
    with pytest.raises(IssuerKeyUnusable, match="data"):
        LocalIssuer(tmp_path / "data").ensure_keys()


def _remove(path: Path) -> None:
    path.unlink()
