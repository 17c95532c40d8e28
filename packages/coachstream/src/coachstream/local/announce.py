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
from coachstream.settings import IdentityProvider, Model, Recall, Settings, Store

DEFAULT_DATA = Path(".coachstream")
"""Where `coachstream serve` keeps its data, and `coachstream chat` looks for a server."""


class Parts(msgspec.Struct, frozen=True):
    """Which part is which."""

    store: Store
    model: Model
    recall: Recall
    identity: IdentityProvider


class Problem(msgspec.Struct, frozen=True):
    """A part that will not work, why, and what to do about it."""

    part: str
    message: str
    remedy: str


class Ready(msgspec.Struct, frozen=True, rename="camel", tag="ready", tag_field="event", omit_defaults=True):
    """Everything a client needs; addresses end with `/`, clients append `users/...`.

    Where a user pool issues the tokens there is no user yet; a user need not have a conversation. `problems`
    is what will not work, as far as this machine alone can say; absent where nothing is known. `isDataNew`
    says that this start made the data folder; absent where it was there.
    """

    url: str
    stream_url: str
    conversations_url: str
    token: str | None
    user_id: str | None
    coach_id: str | None
    conversation_id: str | None
    parts: Parts | None = None
    problems: tuple[Problem, ...] = ()
    is_data_new: bool = False


def ready_of(
    origin: str,
    session: Session | None,
    settings: Settings,
    problems: tuple[Problem, ...],
    *,
    is_data_new: bool,
) -> Ready:
    """What a client needs, of a session if there is one."""
    return Ready(
        url=origin,
        stream_url=origin,
        conversations_url=origin,
        token=None if session is None else session.token,
        user_id=None if session is None else session.user_id,
        coach_id=None if session is None else session.coach_id,
        conversation_id=None if session is None else session.conversation_id,
        parts=Parts(settings.store.kind, settings.model.kind, settings.recall.kind, settings.identity.kind),
        problems=problems,
        is_data_new=is_data_new,
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
        """Print what will not work, the address, the command to try, and how to stop."""
        if ready.problems:
            lines = (f"    {each.part}: {each.message}\n      {each.remedy}" for each in ready.problems)
            _print("\n".join(("\n  This will not work:", *lines)), self._out)
        _print(
            f"\n  Your coach is at  {ready.url}\n"
            f"  Data is kept in   {data_dir}{' (a new folder)' if ready.is_data_new else ''}\n"
            f"{_parts_line(ready.parts)}\n"
            f"{_how_to_talk(ready, data_dir)}\n"
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
    except OSError:
        # The reader has gone, or the terminal is closed; the server runs on. What is still buffered must have
        # somewhere to go, or the interpreter fails at its exit (Python documentation, "Note on SIGPIPE").
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


def _parts_line(parts: Parts | None) -> str:
    """What is not on this machine; nothing where all is."""
    if parts is None:
        return ""
    embedded = {Store.SQLITE, Model.DEMO, Recall.SQLITE, Recall.OFF, IdentityProvider.LOCAL}
    elsewhere = [
        part for part in (parts.store, parts.model, parts.recall, parts.identity) if part not in embedded
    ]
    return f"  Real services:    {', '.join(elsewhere)}\n" if elsewhere else ""


def _how_to_talk(ready: Ready, data_dir: Path) -> str:
    if ready.token is None:
        return (
            "  Tokens come from the user pool: the page asks for one, and so does\n"
            f"    {chat_command(data_dir)} --token ID_TOKEN\n"
        )
    terminal = f"  In the terminal:  {chat_command(data_dir)}\n"
    if ready.conversation_id is None:
        return terminal
    return f"{terminal}  Or, as it is on the wire:\n\n{curl_command(ready)}\n"


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
