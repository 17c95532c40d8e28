"""The options of `coachstream serve`, and what it does without them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from coachstream.settings import IdentityProvider, LogFormat, Model, Recall, Store
from coachstream.settings import variables as v

DEFAULT_DATA = Path(".coachstream")
"""The data folder of `coachstream serve`, in which `coachstream chat` looks for a server."""

ON_THIS_MACHINE: Mapping[v.Variable[object], str] = {
    v.STORE: Store.SQLITE,
    v.MODEL: Model.DEMO,
    v.IDENTITY: IdentityProvider.LOCAL,
    v.RECALL: Recall.SQLITE,
    v.LOG_FORMAT: LogFormat.TEXT,
    v.METRICS_NAMESPACE: "off",
    # Short, because all processes share one clock, and a killed process should not delay its user.
    v.LEASE: "5",
}
"""Values of variables that are not set, where they differ from a deployment's."""


class BackendChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The selected backends; None uses the environment, or else the default on this machine."""

    store: Annotated[Store | None, v.STORE] = None
    table: Annotated[str | None, v.TABLE] = None
    model: Annotated[Model | None, v.MODEL] = None
    model_id: Annotated[str | None, v.MODEL_ID] = None
    recall: Annotated[Recall | None, v.RECALL] = None
    identity: Annotated[IdentityProvider | None, v.IDENTITY] = None
    region: Annotated[str | None, v.REGION] = None


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
