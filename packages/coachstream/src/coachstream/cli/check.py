"""`coachstream check`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from coachstream.cli.backend_options import (
    IdentityOption,
    ModelIdOption,
    ModelOption,
    RecallOption,
    RegionOption,
    StoreOption,
    TableOption,
)
from coachstream.cli.shared import DEFAULT_DATA, DataFolder, fail


def check(
    *,
    store: StoreOption = None,
    table: TableOption = None,
    model: ModelOption = None,
    model_id: ModelIdOption = None,
    recall: RecallOption = None,
    identity: IdentityOption = None,
    region: RegionOption = None,
    data: DataFolder = DEFAULT_DATA,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Connect to nothing; look at this machine only."),
    ] = False,
    call_model: Annotated[
        bool,
        typer.Option("--call-model", help="Make the model on Bedrock write one token, which is billed."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=300, help="For each part; all are tried at once.")
    ] = 10.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Report what is configured, where each part would connect, and whether it can.

    Without an option that names a part, that is what the environment says, as a deployment reads it. With
    one, it is what `coachstream serve` would run with the same options. Nothing is changed, and no secret is
    printed. The exit status is 0 if nothing failed.
    """
    import asyncio
    import logging
    import os

    from coachstream.check.run import check as run
    from coachstream.local.backends import environment_of
    from coachstream.local.options import BackendChoice, CannotServe

    choice = BackendChoice(
        store=store,
        table=table,
        model=model,
        model_id=model_id,
        recall=recall,
        identity=identity,
        region=region,
    )
    environment: Mapping[str, str] = os.environ
    if choice != BackendChoice():
        try:
            environment = environment_of(choice, os.environ, data_dir=data)
        except CannotServe as problem:
            fail(str(problem))

    # The report tells everything, and better.
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
