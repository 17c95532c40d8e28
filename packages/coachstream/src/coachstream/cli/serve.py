"""`coachstream serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from coachstream.cli.backend_options import backend_choice, with_backend_options
from coachstream.cli.shared import DataFolder, fail, refuse_unknown_variables
from coachstream.local.options import DEFAULT_DATA
from coachstream.settings.invocation import INVOCATION_TIMEOUT_S, LONGEST_INVOCATION_S
from coachstream.settings.variables import MODEL_DELAY, MODEL_DELAY_KIND


@with_backend_options
def serve(
    *,
    user_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="User to sign in on the page; the demo user by default."),
    ] = None,
    demo_data: Annotated[
        bool,
        typer.Option("--demo-data", help="Write the demo data into the DynamoDB table, for that user."),
    ] = False,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Address to listen on; any other than loopback exposes it to the network."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8000,
    data: DataFolder = DEFAULT_DATA,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object per line; the first one has all addresses."),
    ] = False,
    in_process: Annotated[
        bool,
        typer.Option(
            "--in-process", help="Run the functions in this process instead of execution environments."
        ),
    ] = False,
    model_delay: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=MODEL_DELAY_KIND.least,
            max=MODEL_DELAY_KIND.most,
            envvar=MODEL_DELAY.name,
            help="Pause between two chunks of the demo model's reply.",
        ),
    ] = MODEL_DELAY.default,
    max_concurrency: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=1000, help="Maximum execution environments per function; then 429."
        ),
    ] = 32,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=1, max=LONGEST_INVOCATION_S, help="Invocation timeout, as on Lambda."
        ),
    ] = float(INVOCATION_TIMEOUT_S),
    warm: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=1000, help="Execution environments to start in advance, per function."
        ),
    ] = 1,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also accept requests for this host; .NAME for all its subdomains. Repeatable.",
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Allow pages of this origin to call the functions; * for all. Repeatable.",
        ),
    ] = None,
    freeze: Annotated[
        bool,
        typer.Option("--freeze/--no-freeze", help="Freeze environments between invocations, as Lambda does."),
    ] = True,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the chat page in a browser.")] = False,
    **chosen: object,
) -> None:
    """Chat with a coach on localhost: the page, the functions, and demo data in --data.

    Every backend runs on this machine, unless an option or environment variable selects another one. Options
    override variables, which override defaults. coachstream check reports whether each can be reached.
    """
    refuse_unknown_variables()
    from coachstream.local.options import CannotServe, ServeOptions
    from coachstream.local.serve import run

    try:
        run(
            ServeOptions(
                backends=backend_choice(chosen),
                user_id=user_id,
                demo_data=demo_data,
                host=host,
                port=port,
                data_dir=data,
                as_json=json,
                in_process=in_process,
                model_delay_s=model_delay,
                max_concurrency=max_concurrency,
                timeout_s=timeout,
                warm=min(warm, max_concurrency),
                allow_hosts=tuple(allow_host or ()),
                cors_origins=tuple(cors_origin or ()),
                freeze=freeze,
                open_browser=open_browser,
            )
        )
    except CannotServe as problem:
        fail(str(problem))
