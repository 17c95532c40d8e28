"""`coachstream check`."""

from __future__ import annotations

from typing import Annotated

import typer


def check(
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Look at the settings only; connect to nothing.")
    ] = False,
) -> None:
    """Tell what is configured, and whether it can be reached."""
    raise typer.Exit(2 if offline else 1)
