"""`coachstream table`."""

from __future__ import annotations

from typing import Annotated

import typer

from coachstream.cli.shared import fail, refuse_unknown_variables

table = typer.Typer(
    name="table",
    help="The DynamoDB table.",
    no_args_is_help=True,
    # Built separately from the program, whose settings it does not inherit.
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
)


@table.callback()
def _table() -> None:
    """Group the commands."""


@table.command()
def create(
    *,
    table: Annotated[
        str | None,
        typer.Option(metavar="T", help="Name of the table; DYNAMODB_TABLE_NAME by default."),
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="AWS region; AWS_REGION by default.")
    ] = None,
) -> None:
    """Create the table if it does not exist. AWS_ENDPOINT_URL_DYNAMODB selects another endpoint."""
    refuse_unknown_variables()
    import asyncio
    import os

    from coachstream.check.table import TableNotCreated, create_table

    try:
        made = asyncio.run(create_table(os.environ, name=table, region=region))
    except TableNotCreated as problem:
        fail(str(problem))
    typer.echo(made)
