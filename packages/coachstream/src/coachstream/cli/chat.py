"""`coachstream chat`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coachstream.cli.shared import DataFolder, fail, refuse_unknown_variables, start_command
from coachstream.local.options import DEFAULT_DATA
from coachstream.settings.variables import ID_TOKEN

if TYPE_CHECKING:
    from rich.console import Console

_INTERRUPTED = 130


def chat(
    *,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="URL of a running server; found through --data by default."),
    ] = None,
    data: DataFolder = DEFAULT_DATA,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar=ID_TOKEN.name,
            help="ID token, for a server with --identity cognito.",
            show_envvar=True,
        ),
    ] = None,
    coach: Annotated[
        str | None, typer.Option(metavar="NAME", help="Coach to talk to, by name or id.")
    ] = None,
    conversation: Annotated[
        str | None, typer.Option(metavar="ID", help="Conversation to continue; the latest by default.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Start a new conversation.")] = False,
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", metavar="TEXT", help="Ask this, print the reply and exit."),
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Print the conversation and exit.")] = False,
) -> None:
    """Talk to a coach in the terminal, while `coachstream serve` runs."""
    refuse_unknown_variables()
    from rich.console import Console

    from coachstream.local.chat import Chat
    from coachstream.local.client import ChatFailure, CoachClient

    console = Console()
    url = url or _server_of(data, console)
    with CoachClient(url, token=token) as client:
        try:
            session = client.session
            chosen = client.find_coach(coach) if coach else session.coaches[0]
            talk = Chat(client, console, chosen)
            talk.open(conversation, is_new=new)
            if history:
                talk.show_history()
            elif message is not None:
                is_whole = talk.ask(message)
                raise typer.Exit(0 if is_whole else _INTERRUPTED)
            else:
                talk.run(lambda prompt: console.input(prompt, markup=False))
        except ChatFailure as failure:
            fail(failure.sentence)
        except KeyboardInterrupt:
            console.print()
            raise typer.Exit(_INTERRUPTED) from None


def _server_of(data: Path, console: Console) -> str:
    """The URL of the server that uses the folder; asks the user if there are several."""
    from rich.prompt import Prompt

    from coachstream.local.state_file import find_servers

    servers = find_servers(data)
    if not servers:
        what = f"with the data in {data}" if data.is_dir() else f"here, and there is no folder {data}"
        fail(
            f"No server is running {what}. Start one in another terminal with "
            f"`{start_command(data)}`, or give its address with --url."
        )
    if len(servers) == 1:
        return servers[0].url
    if not console.is_terminal or not sys.stdin.isatty():
        urls = " and ".join(server.url for server in servers)
        fail(f"Several servers use the data in {data}: {urls}. Choose one with --url.")
    for number, server in enumerate(servers, 1):
        started = datetime.fromtimestamp(server.started_at).astimezone()
        typer.echo(f"{number:>3}  {server.url}  (started {started:%d %b %H:%M})")
    numbers = [str(number) for number in range(1, len(servers) + 1)]
    chosen = Prompt.ask("Which server?", console=console, choices=numbers, default="1")
    return servers[int(chosen) - 1].url
