"""The program: its name, its options, its commands."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from coachstream.cli.chat import chat
from coachstream.cli.check import check
from coachstream.cli.deploy import deploy
from coachstream.cli.package import package
from coachstream.cli.serve import serve
from coachstream.cli.table import table
from coachstream.cli.token import token

app = typer.Typer(
    name="coachstream",
    help="A coach whose answer appears word by word. Begin with [bold]coachstream serve[/bold].",
    epilog="serve needs no account, no key and no network, unless its options name parts that do.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (serve, chat, token, check, package, deploy):
    app.command()(command)
app.add_typer(table)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"coachstream {version('coachstream')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Hold the options of the program itself."""
