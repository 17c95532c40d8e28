"""The command line: `coachstream serve`, `chat` and `token`."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    name="coachstream",
    help="A coach whose answer appears word by word. Begin with [bold]coachstream serve[/bold].",
    epilog="Everything runs on this machine: no account, no key, no network.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DataFolder = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar="COACHSTREAM_DATA_DIR",
        help="Where conversations and the local issuer's key are kept.",
        file_okay=False,
    ),
]
# As in local.announce, which must not be imported to print a help text.
DEFAULT_DATA = Path(".coachstream")


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


@app.command()
def serve(
    *,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Address to listen on; others than loopback open the demo to the network."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8000,
    data: DataFolder = DEFAULT_DATA,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object a line; the first one says where everything is."),
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
            min=0,
            max=60,
            envvar="COACHSTREAM_MODEL_DELAY",
            help="Pause between two pieces of the demo coach's reply.",
        ),
    ] = 0.03,
    max_concurrency: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=1000, help="Execution environments of each function; 429 past it."
        ),
    ] = 32,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=1, max=900, help="Longest time for one invocation, as on Lambda."
        ),
    ] = 300.0,
    warm: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=1000, help="Execution environments of each function to start ahead."
        ),
    ] = 1,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Let pages of this origin call the functions; may be repeated, * means all.",
        ),
    ] = None,
    freeze: Annotated[
        bool,
        typer.Option("--freeze/--no-freeze", help="Freeze environments between invocations, as Lambda does."),
    ] = True,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the chat page in a browser.")] = False,
) -> None:
    """Chat with a coach on localhost: the page, the two functions, and demo data in --data."""
    from coachstream.local.options import ServeOptions
    from coachstream.local.serve import CannotServe, run

    try:
        run(
            ServeOptions(
                host=host,
                port=port,
                data_dir=data,
                as_json=json,
                in_process=in_process,
                model_delay_s=model_delay,
                max_concurrency=max_concurrency,
                timeout_s=timeout,
                warm=min(warm, max_concurrency),
                cors_origins=tuple(cors_origin or ()),
                freeze=freeze,
                open_browser=open_browser,
            )
        )
    except CannotServe as problem:
        _fail(str(problem))


@app.command()
def token(
    *,
    data: DataFolder = DEFAULT_DATA,
    user_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Whose token; the demo user's by default.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=8760, help="How long the token is good for.")] = 12.0,
) -> None:
    """Print an ID token of the local issuer, for your own client."""
    from coachstream.identity.local_issuer import IssuerKeyUnusable, LocalIssuer
    from coachstream.local.demo.seed import USER_ID

    try:
        issued = LocalIssuer(data).issue(user_id or USER_ID, lifetime=timedelta(hours=hours))
    except IssuerKeyUnusable as problem:
        _fail(str(problem))
    typer.echo(issued.token)


@app.command()
def chat(
    *,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Address of a running server; found through --data by default."),
    ] = None,
    data: DataFolder = DEFAULT_DATA,
    coach: Annotated[
        str | None, typer.Option(metavar="NAME", help="Coach to talk to, by name or id.")
    ] = None,
    conversation: Annotated[
        str | None, typer.Option(metavar="ID", help="Conversation to go on with; the latest by default.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a new conversation.")] = False,
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", metavar="TEXT", help="Ask this, print the answer and exit."),
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Print the conversation and exit.")] = False,
) -> None:
    """Talk to a coach in the terminal, while `coachstream serve` runs."""
    from rich.console import Console

    from coachstream.local.chat import Chat
    from coachstream.local.client import ChatFailure, CoachClient
    from coachstream.local.state_file import find_server

    if url is None:
        server = find_server(data)
        if server is None:
            _fail(
                f"No server is running with the data in {data}. Start one in another terminal with "
                "`coachstream serve`, or name one with --url."
            )
        url = server.url
    console = Console()
    with CoachClient(url) as client:
        try:
            session = client.session
            chosen = client.find_coach(coach) if coach else session.coaches[0]
            talk = Chat(client, console, chosen)
            talk.open(conversation, is_new=new)
            if history:
                talk.show_history()
            elif message is not None:
                talk.ask(message)
            else:
                talk.run(lambda prompt: console.input(prompt, markup=False))
        except ChatFailure as failure:
            _fail(failure.sentence)
        except KeyboardInterrupt:
            console.print()


def _fail(sentence: str) -> NoReturn:
    typer.secho(sentence, err=True, fg=typer.colors.RED)
    raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
