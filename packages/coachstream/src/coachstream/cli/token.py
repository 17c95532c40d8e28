"""`coachstream token`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from coachstream.cli.shared import DataFolder, fail, refuse_unknown_variables, start_command
from coachstream.local.options import DEFAULT_DATA


def token(
    *,
    data: DataFolder = DEFAULT_DATA,
    user_id: Annotated[
        str | None, typer.Option(metavar="ID", help="User to issue it for; the demo user by default.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=8760, help="How long the token is valid.")] = 12.0,
) -> None:
    """Print an ID token of the local issuer, for your own client."""
    refuse_unknown_variables()
    from coachstream.identity.local_issuer import IssuerKeyUnusable, LocalIssuer
    from coachstream.local.demo.seed import USER_ID

    if not LocalIssuer.has_key(data):
        fail(
            f"There is no local issuer in {data}: `{start_command(data)}` creates one at its first start. "
            "Is this the right folder and working directory?"
        )
    try:
        issued = LocalIssuer(data).issue(user_id or USER_ID, lifetime=timedelta(hours=hours))
    except IssuerKeyUnusable as problem:
        fail(str(problem))
    typer.echo(issued.token)
