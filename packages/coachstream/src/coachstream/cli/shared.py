"""What several commands have in common."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from coachstream.settings import unknown_variables
from coachstream.settings.variables import DATA_DIR

DataFolder = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar=DATA_DIR.name,
        help="Where conversations and the local issuer's key are kept.",
        file_okay=False,
    ),
]
# As in local.announce, which must not be imported to print a help text.
DEFAULT_DATA = Path(".coachstream")


def refuse_unknown_variables() -> None:
    """Exit with 1 if a variable has a name like ours that no one reads: it would have no effect."""
    if problems := unknown_variables(os.environ):
        fail("\n".join(f"{problem}." for problem in problems))


def fail(sentence: str) -> NoReturn:
    """Print why it does not work, and exit with 1."""
    typer.secho(sentence, err=True, fg=typer.colors.RED)
    raise typer.Exit(1)


def start_command(data: Path) -> str:
    """The command that starts a server with the data in this folder."""
    return (
        "coachstream serve"
        if data == DEFAULT_DATA
        else shlex.join(("coachstream", "serve", "--data", str(data)))
    )
