"""The local ticket key: created once, private to its owner, and shared by all processes."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from coachstream.identity.keys import KeysUnavailable
from coachstream.identity.ticket_keys import KEY_BYTES, LocalKey
from support.patience import PATIENCE_S


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_it_is_made_when_it_is_first_needed_and_kept(folder: Path) -> None:
    """Construction creates nothing; concurrent callers and a later start get the same key."""
    local = LocalKey(folder)
    assert local.path == folder / "ticket-key"
    assert not await asyncio.to_thread(folder.exists)
    first, *others = await asyncio.gather(*(local() for _ in range(10)))
    assert len(first) == KEY_BYTES
    assert set(others) == {first}
    assert await LocalKey(folder)() == first


async def test_a_replaced_key_is_read_when_the_old_one_is_in_doubt(folder: Path) -> None:
    """Only a caller that rejects the cached key gets the file's; all others get the cached key."""
    local = LocalKey(folder)
    old = await local()
    await asyncio.to_thread((folder / "ticket-key").write_bytes, b"n" * KEY_BYTES)
    assert await local() == old
    assert await local(instead_of=b"another") == old
    assert await local(instead_of=old) == b"n" * KEY_BYTES


async def test_each_folder_has_its_own(folder: Path, tmp_path: Path) -> None:
    """No key is built in."""
    assert await LocalKey(folder)() != await LocalKey(tmp_path / "other")()


async def test_it_is_the_owners_only(folder: Path) -> None:
    """Like the issuer's key; the folder contains nothing else."""
    await LocalKey(folder)()

    def look() -> tuple[int, int, list[str]]:
        file, parent = (stat.S_IMODE(path.stat().st_mode) for path in (folder / "ticket-key", folder))
        return file, parent, [entry.name for entry in folder.iterdir()]

    assert await asyncio.to_thread(look) == (0o600, 0o700, ["ticket-key"])


@pytest.mark.parametrize("content", [b"", b"short"])
async def test_a_damaged_key_is_named_and_kept(folder: Path, content: bytes) -> None:
    """The error says which file to delete; nothing is overwritten."""
    await asyncio.to_thread(folder.mkdir)
    path = folder / "ticket-key"
    await asyncio.to_thread(path.write_bytes, content)
    with pytest.raises(KeysUnavailable, match=r"ticket-key holds no key\. Delete it"):
        await LocalKey(folder)()
    assert await asyncio.to_thread(path.read_bytes) == content


async def test_a_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    """A file exists at the folder's path."""
    await asyncio.to_thread(folder.write_text, "")
    with pytest.raises(KeysUnavailable, match="cannot be used"):
        await LocalKey(folder)()


def test_processes_that_start_together_agree_on_one_key(folder: Path) -> None:
    """Six processes create it at once: there is one key, and all of them use it."""
    program = (
        "import asyncio, sys, pathlib; from coachstream.identity.ticket_keys import LocalKey;"
        "key = LocalKey(pathlib.Path(sys.argv[1])); sys.stdin.readline();"
        "print(asyncio.run(key()).hex())"
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
    keys = {process.communicate(timeout=PATIENCE_S)[0].strip() for process in processes}
    assert keys == {(folder / "ticket-key").read_bytes().hex()}
