"""Sources of an issuer's public keys."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from coachstream.conversation.errors import NoCredentials, ProcessingError


class KeysUnavailable(ProcessingError):
    """The issuer's keys could not be read, so no token can be verified and all are rejected."""


class KeyCredentials(NoCredentials, KeysUnavailable):
    """The credentials for reading the key's secret are missing, expired or rejected."""


class KeySource(Protocol):
    """Loads an issuer's current key set."""

    async def load(self) -> bytes:
        """Load the current JWKS document (RFC 7517, section 5); the caller caches it.

        Raises:
            KeysUnavailable: the document could not be read.
        """


class FileKeys:
    """The key set in a local file."""

    def __init__(self, path: Path) -> None:
        """Store the path."""
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
