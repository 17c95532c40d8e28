"""Where the key for tickets comes from."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Protocol

from coachstream.identity.keys import KeysUnavailable
from coachstream.private_files import make_private_folder, write_once

KEY_BYTES = 32
"""RFC 7518, section 3.2: a key for HS256 is at least as long as the hash."""


class TicketKey(Protocol):
    """Gives the key of an office's tickets."""

    async def __call__(self, *, instead_of: bytes | None = None) -> bytes:
        """The key, at least `KEY_BYTES` long; called for each ticket, so whoever reads it remembers it.

        Args:
            instead_of: a key that a ticket was not signed with. If that is the remembered one, it may have
                been rotated, so the key is read again, though not for each of many such tickets.

        Raises:
            KeysUnavailable: it cannot be read.
        """


def fixed_key(key: bytes) -> TicketKey:
    """A key that is known, and never changes."""

    async def known(*, instead_of: bytes | None = None) -> bytes:  # noqa: ARG001 (there is no other)
        return key

    return known


class LocalKey:
    """A key in a file in `data_dir`, made when it is first needed; many processes agree on one.

    Attributes:
        path: of the file.
    """

    FILE = "ticket-key"

    def __init__(self, data_dir: Path) -> None:
        """Remember the folder."""
        self.path = data_dir / self.FILE
        self._key: bytes | None = None

    async def __call__(self, *, instead_of: bytes | None = None) -> bytes:
        """Read the key, in a thread: the first time, and when it seems to have been replaced.

        Raises:
            KeysUnavailable: the file cannot be read or made, or holds no key.
        """
        if self._key is None or self._key == instead_of:
            self._key = await asyncio.to_thread(self._read)
        return self._key

    def _read(self) -> bytes:
        try:
            make_private_folder(self.path.parent)
            if not self.path.exists():
                write_once(self.path, secrets.token_bytes(KEY_BYTES))
            key = self.path.read_bytes()
        except OSError as error:
            raise KeysUnavailable(
                f"the key for tickets at {self.path} cannot be used: {error.strerror}"
            ) from error
        if len(key) < KEY_BYTES:
            raise KeysUnavailable(f"{self.path} holds no key. Delete it, and a new one is made")
        return key
