"""Where the public keys of an issuer come from."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from coachstream.conversation.errors import ProcessingError


class KeysUnavailable(ProcessingError):
    """The issuer's keys could not be read; nobody can be verified."""


class KeySource(Protocol):
    """Gives an issuer's current key set."""

    async def load(self) -> bytes:
        """The JWKS document (RFC 7517, section 5), fresh.

        Raises:
            KeysUnavailable: it could not be read.
        """


class FileKeys:
    """The key set in a local file."""

    def __init__(self, path: Path) -> None:
        raise NotImplementedError

    async def load(self) -> bytes:
        raise NotImplementedError
