"""`LocalIssuer`: signs ID tokens on this machine, in the form of Cognito's."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from coachstream.identity.verifier import JwtVerifier


class IssuedToken(msgspec.Struct, frozen=True):
    """An ID token, and until when it is good."""

    token: str
    expires_at: datetime


class LocalIssuer:
    """An issuer with a key in `data_dir`, made at first use. All methods do file I/O: keep them off the loop."""

    def __init__(self, data_dir: Path) -> None:
        raise NotImplementedError

    def ensure_keys(self) -> None:
        raise NotImplementedError

    def issue(self, user_id: str, *, lifetime: timedelta = timedelta(hours=12)) -> IssuedToken:
        raise NotImplementedError


def local_verifier(data_dir: Path) -> JwtVerifier:
    """The verifier for tokens of the issuer in `data_dir`."""
    raise NotImplementedError
