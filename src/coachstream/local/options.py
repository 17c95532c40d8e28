"""What a person can ask of `coachstream serve`."""

from __future__ import annotations

from pathlib import Path

import msgspec


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The command's options; the CLI says what each means."""

    host: str
    port: int
    data_dir: Path
    as_json: bool
    in_process: bool
    model_delay_s: float
    max_concurrency: int
    timeout_s: float
    warm: int
    cors_origins: tuple[str, ...]
    freeze: bool
    open_browser: bool
