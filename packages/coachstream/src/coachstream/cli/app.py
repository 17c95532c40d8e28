"""The program: its name, its options, its commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

_SUMMARIES = {
    "serve": "Chat with a coach on localhost.",
    "chat": "Talk to a coach in the terminal.",
    "token": "Print an ID token of the local issuer.",
    "check": "Report the configuration, and whether it works.",
    "package": "Build the zip file for Lambda.",
    "deploy": "Deploy the functions to an AWS account.",
    "table": "The DynamoDB table.",
    "user-data": "Export and delete all data of a user.",
}
"""Summaries for `--help`; those that typer takes from docstrings are truncated in narrow terminals."""


class _Commands(Mapping[str, TyperCommand | TyperGroup]):
    """The commands, each imported and built on lookup: a process runs only one of them."""

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        summary = _SUMMARIES[name]
        module = name.replace("-", "_")
        command = getattr(import_module(f"coachstream.cli.{module}"), module)
        if isinstance(command, typer.Typer):
            return cast("TyperGroup", get_command(command))
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_show_locals=False)
        alone.command(short_help=summary)(command)
        return cast("TyperCommand", get_command(alone))

    def __iter__(self) -> Iterator[str]:
        return iter(_SUMMARIES)

    def __len__(self) -> int:
        return len(_SUMMARIES)


class _Program(TyperGroup):
    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401
        super().__init__(**attributes)
        self.commands = _Commands()  # type: ignore[assignment]

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002
        return list(self.commands)


app = typer.Typer(
    name="coachstream",
    cls=_Program,
    help="An AI coach whose replies are streamed word by word. Start with: coachstream serve",
    epilog="serve needs no account, no key and no network, unless its options select backends that do.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help wraps at any width; rich's table truncates words.
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

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
    """Define the global options."""
