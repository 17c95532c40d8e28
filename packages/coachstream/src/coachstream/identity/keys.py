"""Where the public keys of an issuer come from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from coachstream.conversation.errors import NoCredentials, ProcessingError


class KeysUnavailable(ProcessingError):
    """The issuer's keys could not be read, so nobody can be verified and nobody is let in."""


class KeyCredentials(NoCredentials, KeysUnavailable):
    """The credentials for the secret that is the key are missing, expired or refused."""


class KeySource(Protocol):
    """Gives an issuer's current key set."""

    async def load(self) -> bytes:
        """The JWKS document (RFC 7517, section 5), fresh: caching is the caller's business.

        Raises:
            KeysUnavailable: it could not be read.
        """


class FileKeys:
    """The key set in a local file."""

    def __init__(self, path: Path) -> None:
        """Remember the path."""
        self._path = path

    async def load(self) -> bytes:
        """Read the file, in a thread.

        Raises:
            KeysUnavailable: there is no such file, or it cannot be read.
        """
        try:
            return await asyncio.to_thread(self._path.read_bytes)
        except FileNotFoundError as error:
            raise KeysUnavailable(
                f"there is no key set at {self._path}; `coachstream serve` and `coachstream token` make one"
            ) from error
        except OSError as error:
            raise KeysUnavailable(f"the key set at {self._path} cannot be read: {error.strerror}") from error
