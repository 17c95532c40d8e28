"""`coachstream table`."""

from __future__ import annotations

from typing import Annotated

import typer

from coachstream.cli.shared import fail, refuse_unknown_variables

table = typer.Typer(
    name="table",
    help="The DynamoDB table.",
    no_args_is_help=True,
    # It is built apart from the program, of which it does not inherit these.
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
)


@table.callback()
def _table() -> None:
    """Hold the commands."""


@table.command()
def create(
    *,
    table: Annotated[
        str | None,
        typer.Option(metavar="T", help="Its name; DYNAMODB_TABLE_NAME by default."),
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="Its region; AWS_REGION by default.")
    ] = None,
) -> None:
    """Create the table, unless it is there. AWS_ENDPOINT_URL_DYNAMODB says where, if not at AWS."""
    refuse_unknown_variables()
    import asyncio
    import os

    from coachstream.check.table import TableNotCreated, create_table

    try:
        made = asyncio.run(create_table(os.environ, name=table, region=region))
    except TableNotCreated as problem:
        fail(str(problem))
    typer.echo(made)
