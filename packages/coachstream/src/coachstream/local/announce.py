"""The output of `coachstream serve`: text for humans, or one JSON object per line for programs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Protocol, TextIO

import msgspec

from coachstream.local.options import DEFAULT_DATA
from coachstream.local.session import Session
from coachstream.settings import IdentityProvider, Model, Recall, Settings, Store


class Parts(msgspec.Struct, frozen=True):
    """The selected backends."""

    store: Store
    model: Model
    recall: Recall
    identity: IdentityProvider


class Problem(msgspec.Struct, frozen=True):
    """A backend that will not work, the reason, and the remedy."""

    part: str
    message: str
    remedy: str


class ServeReady(
    msgspec.Struct, frozen=True, rename="camel", tag="ready", tag_field="event", omit_defaults=True
):
    """Everything a client needs; addresses end with `/`, clients append `users/...`.

    If a user pool issues the tokens there is no user yet; a user may have no conversation. `problems` lists
    backends that will not work, as far as it can be checked on this machine; absent if there are none.
    `isDataNew` is set if this start created the data folder; absent otherwise.
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
) -> ServeReady:
    """Return what a client needs, including the session if there is one."""
    return ServeReady(
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
    """Reports the state of the server to its user."""

    def ready(self, ready: ServeReady, data_dir: Path) -> None:
        """The server accepts requests."""

    def stopping(self) -> None:
        """A stop signal arrived."""

    def stopped(self) -> None:
        """The server has stopped."""


class JsonAnnouncer:
    """Prints one JSON object per line, with the `event` `ready`, `stopping` or `stopped`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def ready(self, ready: ServeReady, data_dir: Path) -> None:  # noqa: ARG002 (for humans only)
        """Print the addresses."""
        self._line(msgspec.json.encode(ready).decode())

    def stopping(self) -> None:
        """Print that the server is stopping."""
        self._line('{"event":"stopping"}')

    def stopped(self) -> None:
        """Print that the server has stopped."""
        self._line('{"event":"stopped"}')

    def _line(self, line: str) -> None:
        _print(line, self._out)


class TerminalAnnouncer:
    """Prints plain lines to read and copy, without wrapping."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def ready(self, ready: ServeReady, data_dir: Path) -> None:
        """Print the problems, the address, a command to try, and how to stop."""
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
        """Print that the server is stopping."""
        _print("\n  Stopping; Ctrl-C again does not wait.", self._out)

    def stopped(self) -> None:
        """Print that the server has stopped and the data is kept."""
        _print("  Stopped. Your conversations are kept.", self._out)


def _print(text: str, out: TextIO) -> None:
    try:
        print(text, file=out, flush=True)
    except OSError:
        # The reader or the terminal is closed; the server continues. Buffered output needs a valid file
        # descriptor, or the interpreter fails at its exit (Python documentation, "Note on SIGPIPE").
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)


def chat_command(data_dir: Path) -> str:
    """Return a command that chats with this server from another terminal in the same folder."""
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
    """Return a line on backends that are not on this machine; empty if there are none."""
    if parts is None:
        return ""
    embedded = {Store.SQLITE, Model.DEMO, Recall.SQLITE, Recall.OFF, IdentityProvider.LOCAL}
    elsewhere = [
        part for part in (parts.store, parts.model, parts.recall, parts.identity) if part not in embedded
    ]
    return f"  Real services:    {', '.join(elsewhere)}\n" if elsewhere else ""


def _how_to_talk(ready: ServeReady, data_dir: Path) -> str:
    if ready.token is None:
        return (
            "  Tokens come from the user pool: the page asks for one, and so does\n"
            f"    {chat_command(data_dir)} --token ID_TOKEN\n"
        )
    terminal = f"  In the terminal:  {chat_command(data_dir)}\n"
    if ready.conversation_id is None:
        return terminal
    return f"{terminal}  Or the raw stream:\n\n{curl_command(ready)}\n"


def curl_command(ready: ServeReady) -> str:
    """Return a shell command that streams a reply into the terminal."""
    path = f"users/{ready.user_id}/coaches/{ready.coach_id}/conversations/{ready.conversation_id}/stream"
    words = (
        ("curl", "-N", "-X", "POST", ready.stream_url + path),
        ("-H", f"Authorization: Bearer {ready.token}"),
        ("-H", "Content-Type: application/json"),
        ("-d", json.dumps({"userResponse": "How was my week?"})),
    )
    return " \\\n  ".join(shlex.join(line) for line in words)
