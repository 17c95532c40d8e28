"""`coachstream check`."""

from __future__ import annotations

from typing import Annotated

import typer


def check(
    *,
    offline: Annotated[
        bool, typer.Option("--offline", help="Look at the settings only; connect to nothing.")
    ] = False,
    call_model: Annotated[
        bool,
        typer.Option("--call-model", help="Make the model on Bedrock write one token, which costs as much."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=300, help="For each part; all are tried at once.")
    ] = 10.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Report what is configured, where each part would connect, and whether it can.

    Nothing is changed, and no secret is printed. The exit status is 0 if nothing failed.
    """
    import asyncio
    import logging
    import os

    from coachstream.check.run import check as run

    # The report tells everything, and better.
    logging.disable()
    report = asyncio.run(run(os.environ, offline=offline, call_model=call_model, within_s=timeout))
    if json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        from rich.console import Console

        from coachstream.check.show import show

        show(report, Console())
    if not report.ok:
        raise typer.Exit(1)
