"""What `coachstream serve` prints: for a person, or one JSON object a line for a program."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Protocol, TextIO

import msgspec

from coachstream.local.session import Session

DEFAULT_DATA = Path(".coachstream")
"""Where `coachstream serve` keeps its data, and `coachstream chat` looks for a server."""


class Ready(msgspec.Struct, frozen=True, rename="camel", tag="ready", tag_field="event"):
    """Everything a client needs; addresses end with `/`, clients append `users/...`."""

    url: str
    stream_url: str
    conversations_url: str
    token: str
    user_id: str
    coach_id: str
    conversation_id: str


def ready_of(session: Session) -> Ready:
    """What a client needs, taken from a session."""
    return Ready(
        url=session.stream_url,
        stream_url=session.stream_url,
        conversations_url=session.conversations_url,
        token=session.token,
        user_id=session.user_id,
        coach_id=session.coach_id,
        conversation_id=session.conversation_id,
    )


class Announcer(Protocol):
    """Tells whoever started the server how it is."""

    def ready(self, ready: Ready, data_dir: Path) -> None:
        """The server answers."""

    def stopping(self) -> None:
        """An interrupt arrived."""

    def stopped(self) -> None:
        """Everything has ended."""


class JsonAnnouncer:
    """One JSON object a line, told apart by `event`: `ready`, `stopping`, `stopped`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def ready(self, ready: Ready, data_dir: Path) -> None:  # noqa: ARG002 (for people only)
        """Print where everything is."""
        self._line(msgspec.json.encode(ready).decode())

    def stopping(self) -> None:
        """Print that the server is ending."""
        self._line('{"event":"stopping"}')

    def stopped(self) -> None:
        """Print that the server has ended."""
        self._line('{"event":"stopped"}')

    def _line(self, line: str) -> None:
        _print(line, self._out)


class TerminalAnnouncer:
    """Plain lines that a person reads and copies from; nothing is wrapped."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def ready(self, ready: Ready, data_dir: Path) -> None:
        """Print the address, the command to try, and how to stop."""
        _print(
            f"\n  Your coach is at  {ready.url}\n"
            f"  Data is kept in   {data_dir}\n\n"
            f"  In the terminal:  {chat_command(data_dir)}\n"
            "  Or, as it is on the wire:\n\n"
            f"{curl_command(ready)}\n\n"
            "  Ctrl-C stops the server.\n",
            self._out,
        )

    def stopping(self) -> None:
        """Print that the interrupt was heard."""
        _print("\n  Stopping; Ctrl-C again does not wait.", self._out)

    def stopped(self) -> None:
        """Print that the data is safe."""
        _print("  Stopped. Your conversations are kept.", self._out)


def _print(text: str, out: TextIO) -> None:
    try:
        print(text, file=out, flush=True)
    except BrokenPipeError:
        # Whoever wanted to know has left; the server has not. What is still buffered must have somewhere to
        # go, or the interpreter fails at its exit (Python documentation, "Note on SIGPIPE").
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)


def chat_command(data_dir: Path) -> str:
    """A command that chats with this server from another terminal in the same folder."""
    program = Path(sys.argv[0])
    if program.name == "coachstream":
        words = ["coachstream" if shutil.which("coachstream") else os.path.relpath(program)]
    else:
        words = [os.path.relpath(sys.executable), "-m", "coachstream.cli"]
    words.append("chat")
    if data_dir != DEFAULT_DATA.absolute():
        words += ["--data", os.path.relpath(data_dir)]
    return shlex.join(words)


def curl_command(ready: Ready) -> str:
    """A command that streams a reply into the terminal when it is pasted into a shell."""
    path = f"users/{ready.user_id}/coaches/{ready.coach_id}/conversations/{ready.conversation_id}/stream"
    words = (
        ("curl", "-N", "-X", "POST", ready.stream_url + path),
        ("-H", f"Authorization: Bearer {ready.token}"),
        ("-H", "Content-Type: application/json"),
        ("-d", json.dumps({"userResponse": "How was my week?"})),
    )
    return " \\\n  ".join(shlex.join(line) for line in words)
