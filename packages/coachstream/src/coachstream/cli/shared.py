"""Options and helpers shared by several commands."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from coachstream.local.options import DEFAULT_DATA
from coachstream.settings import unknown_variables
from coachstream.settings.variables import DATA_DIR

DataFolder = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar=DATA_DIR.name,
        help="Folder for conversations and the local issuer's key.",
        file_okay=False,
    ),
]


def refuse_unknown_variables() -> None:
    """Exit with 1 if a COACHSTREAM_ variable is unknown, because it would have no effect."""
    if problems := unknown_variables(os.environ):
        fail("\n".join(f"{problem}." for problem in problems))


def fail(sentence: str) -> NoReturn:
    """Print an error message, and exit with 1."""
    typer.secho(sentence, err=True, fg=typer.colors.RED)
    raise typer.Exit(1)


def start_command(data: Path) -> str:
    """The command that starts a server with the data in this folder."""
    return (
        "coachstream serve"
        if data == DEFAULT_DATA
        else shlex.join(("coachstream", "serve", "--data", str(data)))
    )
