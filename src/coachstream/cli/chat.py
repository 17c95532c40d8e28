"""`coachstream chat`."""

from __future__ import annotations

from typing import Annotated

import typer

from coachstream.cli.shared import DEFAULT_DATA, DataFolder, fail


def chat(
    *,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Address of a running server; found through --data by default."),
    ] = None,
    data: DataFolder = DEFAULT_DATA,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar="COACHSTREAM_ID_TOKEN",
            help="ID token, for a server with --identity cognito.",
            show_envvar=True,
        ),
    ] = None,
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
            fail(
                f"No server is running with the data in {data}. Start one in another terminal with "
                "`coachstream serve`, or name one with --url."
            )
        url = server.url
    console = Console()
    with CoachClient(url, token=token) as client:
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
            fail(failure.sentence)
        except KeyboardInterrupt:
            console.print()
