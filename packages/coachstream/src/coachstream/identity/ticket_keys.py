"""Sources of the ticket key."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Protocol

from coachstream.identity.keys import KeysUnavailable
from coachstream.private_files import make_private_folder, write_once

KEY_BYTES = 32
"""RFC 7518, section 3.2: the minimum length of a key for HS256 is that of the hash."""


class TicketKey(Protocol):
    """Returns the key that signs tickets."""

    async def __call__(self, *, instead_of: bytes | None = None) -> bytes:
        """Return the key, at least `KEY_BYTES` long; called for each ticket, so implementations cache it.

        Args:
            instead_of: a key that did not match a ticket's signature. If it is the cached one, it may have
                been rotated, so the key is read again, with a rate limit.

        Raises:
            KeysUnavailable: the key cannot be read.
        """


def fixed_key(key: bytes) -> TicketKey:
    """A constant key."""

    async def known(*, instead_of: bytes | None = None) -> bytes:  # noqa: ARG001 (there is no other)
        return key

    return known


class LocalKey:
    """A key in a file in `data_dir`, created when first needed; concurrent processes agree on one.

    Attributes:
        path: the path of the file.
    """

    FILE = "ticket-key"

    def __init__(self, data_dir: Path) -> None:
        """Store the folder."""
        self.path = data_dir / self.FILE
        self._key: bytes | None = None

    async def __call__(self, *, instead_of: bytes | None = None) -> bytes:
        """Read the key, in a thread: the first time, and when it may have been replaced.

        Raises:
            KeysUnavailable: the file cannot be read or created, or has no key.
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
