"""`coachstream serve` as a real process, for black-box tests."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import httpx
import msgspec

from support.bedrock_server import SteeredBedrock, steered_bedrock
from support.elsewhere import CREDENTIALS
from support.patience import PATIENCE_S, PATIENT

#: Makes standard input the controlling terminal of a new session, then becomes the command.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios;"
    "os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Ready(msgspec.Struct, frozen=True, rename="camel"):
    """The first line that `coachstream serve --json` prints; it has no user if a pool issues the tokens."""

    event: str
    url: str
    stream_url: str
    conversations_url: str
    token: str = ""
    user_id: str = ""
    coach_id: str = ""
    conversation_id: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an authenticated request."""
        return {"authorization": f"Bearer {self.token}", "content-type": "application/json"}

    def conversations(self) -> str:
        """The address of the demo user's conversations with the demo coach."""
        return f"{self.conversations_url}users/{self.user_id}/coaches/{self.coach_id}/conversations"

    def stream(self, conversation_id: str | None = None) -> str:
        """The address that streams a reply in a conversation, the seeded one by default."""
        conversation = conversation_id or self.conversation_id
        return (
            f"{self.stream_url}users/{self.user_id}/coaches/{self.coach_id}"
            f"/conversations/{conversation}/stream"
        )


class Silent(msgspec.Struct, frozen=True):
    """A server and its model, which says a word when a test releases it."""

    server: Serving
    model: SteeredBedrock


@contextlib.contextmanager
def silent_server(data: Path, *options: str, **variables: str) -> Iterator[Silent]:
    """Serve with a model that the test controls, and with these options and environment variables."""
    with steered_bedrock() as model:
        environment = {
            **os.environ,
            **CREDENTIALS,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": model.url,
            **PATIENT,
            **variables,
        }
        with serving(data, "--model", "bedrock", *options, environment=environment) as running:
            yield Silent(running, model)


class Serving:
    """A running server. Every process it starts carries a mark in its environment."""

    def __init__(self, process: subprocess.Popen[str], ready: Ready, mark: str, keyboard: int | None) -> None:
        self.process = process
        self.ready = ready
        self.mark = mark
        self._keyboard = keyboard

    def processes(self) -> list[int]:
        """Ids of the live processes that this server started, itself included (Linux)."""
        return marked_processes(self.mark)

    def stop(self, sign: signal.Signals = signal.SIGINT) -> int:
        """Send the signal and return the exit status."""
        self.process.send_signal(sign)
        return self.process.wait(PATIENCE_S)

    def press_ctrl_c(self) -> int:
        """Type Ctrl-C on the command's terminal and return the exit status."""
        assert self._keyboard is not None, "it runs without a terminal"
        os.write(self._keyboard, b"\x03")
        return self.process.wait(PATIENCE_S)


def marked_processes(mark: str) -> list[int]:
    """Ids of all processes, except zombies, whose environment contains the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def read_line(stream: IO[str], within_s: float) -> str:
    """Read one line, or raise `TimeoutError`."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        if not selector.select(within_s):
            raise TimeoutError(f"nothing was printed within {within_s:g} s")
    return stream.readline()


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path | None = None,
    ready_within_s: float = PATIENCE_S,
    terminal: bool = False,
    environment: Mapping[str, str] | None = None,
    token: str | None = None,
) -> Iterator[Serving]:
    """Run a command that ends in `coachstream serve --json ...` during the block.

    It inherits this process's environment unless another one is given. If a pool issues the tokens, `token`
    is one of them and determines the user.

    Its log goes to the file `log` and is shown if it does not become ready. With `terminal`, it gets its own
    terminal, as from a user's shell, so that Ctrl-C can be typed.
    """
    mark = f"COACHSTREAM_TEST_MARK={uuid.uuid4().hex}"
    name, value = mark.split("=")
    keyboard, stdin = os.openpty() if terminal else (None, subprocess.DEVNULL)
    if terminal:
        command = [sys.executable, "-c", _TAKE_TERMINAL, *command]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**(os.environ if environment is None else environment), name: value},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = read_line(process.stdout, ready_within_s)
        assert line, f"it ended with {process.wait(PATIENCE_S)}:\n{log.read_text()}"
        yield Serving(process, _ready(line, token), mark, keyboard)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
        if keyboard is not None:
            os.close(keyboard)
            os.close(stdin)
        for leftover in marked_processes(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(leftover, signal.SIGKILL)


def _ready(line: str, token: str | None) -> Ready:
    known: dict[str, object] = {
        name: value for name, value in msgspec.json.decode(line).items() if value is not None
    }
    if token is None:
        return msgspec.convert(known, Ready)
    headers = {"Authorization": f"Bearer {token}"}
    session = httpx.get(f"{known['url']}local/session", headers=headers, timeout=PATIENCE_S).json()
    return msgspec.convert({**session, **known, "token": token}, Ready)


@contextlib.contextmanager
def serving(
    data: Path, *options: str, environment: Mapping[str, str] | None = None, token: str | None = None
) -> Iterator[Serving]:
    """`coachstream serve --json --port 0 --data DATA OPTIONS...` from this checkout (see `running`)."""
    command = [sys.executable, "-m", "coachstream.cli", "serve", "--json", "--port", "0"]
    with running(
        [*command, "--data", str(data), *options],
        log=data.parent / "serve.log",
        environment=environment,
        token=token,
    ) as server:
        yield server


def create_conversation(ready: Ready) -> str:
    """Create a new conversation and return its id."""
    response = httpx.post(
        ready.conversations(), headers=ready.headers, json={"title": "A test"}, timeout=PATIENCE_S
    )
    assert response.status_code == httpx.codes.CREATED, response.text
    return str(response.json()["conversation"]["conversationId"])


def stored_messages(ready: Ready, conversation_id: str) -> list[dict[str, Any]]:
    """The messages of a conversation as the API returns them."""
    response = httpx.get(
        f"{ready.conversations()}/{conversation_id}", headers=ready.headers, timeout=PATIENCE_S
    )
    assert response.status_code == httpx.codes.OK, response.text
    messages: list[dict[str, Any]] = response.json()["conversation"]["messages"]
    return messages
