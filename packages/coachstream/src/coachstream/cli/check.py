"""`coachstream check`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from coachstream.cli.backend_options import backend_choice, with_backend_options
from coachstream.cli.shared import DataFolder, fail
from coachstream.local.options import DEFAULT_DATA


@with_backend_options
def check(
    *,
    data: DataFolder = DEFAULT_DATA,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Make no connections; check this machine only."),
    ] = False,
    call_model: Annotated[
        bool,
        typer.Option("--call-model", help="Generate one token with the Bedrock model, which is billed."),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.1, max=300, help="Timeout for each check; they run concurrently."
        ),
    ] = 10.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    **chosen: object,
) -> None:
    """Report the configuration, where each backend would connect, and whether it can.

    Without an option that selects a backend, this checks the environment variables, as a deployment reads
    them. With one, it checks what `coachstream serve` would run with the same options. It changes nothing
    and prints no secrets. The exit status is 0 if nothing failed.
    """
    import asyncio
    import logging
    import os

    from coachstream.check.run import check as run
    from coachstream.local.backends import environment_of
    from coachstream.local.options import BackendChoice, CannotServe

    choice = backend_choice(chosen)
    environment: Mapping[str, str] = os.environ
    if choice != BackendChoice():
        try:
            environment = environment_of(choice, os.environ, data_dir=data)
        except CannotServe as problem:
            fail(str(problem))

    # The report covers everything that would be logged.
    logging.disable()
    report = asyncio.run(run(environment, offline=offline, call_model=call_model, within_s=timeout))
    if json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        from rich.console import Console

        from coachstream.check.show import show

        show(report, Console())
    if not report.ok:
        raise typer.Exit(1)
