"""The options of `coachstream serve`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from coachstream.settings import IdentityProvider, Model, Recall, Store


class BackendChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The selected backends; None uses the environment, or else the default on this machine."""

    store: Store | None = None
    table: str | None = None
    model: Model | None = None
    model_id: str | None = None
    recall: Recall | None = None
    identity: IdentityProvider | None = None
    region: str | None = None


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The command's options, documented in the CLI."""

    backends: BackendChoice
    host: str
    port: int
    data_dir: Path
    user_id: str | None
    demo_data: bool
    as_json: bool
    in_process: bool
    model_delay_s: float
    max_concurrency: int
    timeout_s: float
    warm: int
    allow_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    freeze: bool
    open_browser: bool


class CannotServe(Exception):
    """Raised when the server cannot start; the message has the reason and the remedy."""
