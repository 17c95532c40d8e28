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
    help="A coach whose reply appears word by word. Start with: coachstream serve",
    epilog="serve needs no account, no key and no network, unless its options name parts that do.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help wraps at any width; in a table of columns, words are cut off.
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command, summary in (
    (serve, "Chat with a coach on localhost."),
    (chat, "Talk to a coach in the terminal."),
    (token, "Print an ID token of the local issuer."),
    (check, "Report what is configured, and whether it works."),
    (package, "Make the zip that Lambda runs."),
    (deploy, "Put the functions into an AWS account."),
):
    # A summary that is taken from the docstring is cut off in narrow terminals.
    app.command(short_help=summary)(command)
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
