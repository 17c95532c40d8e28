"""The official packages of other wire protocols, in programs for Node that read and write lines of JSON."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from support.patience import PATIENCE_S
from support.places import CACHE, COACHSTREAM

PROGRAMS = COACHSTREAM / "tests" / "functions" / "clients" / "node"
MODULES = CACHE / "event-stream-clients"


def command(program: str) -> list[str]:
    """The command line of a program; skips the test if Node or a package is missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    if not (MODULES / "node_modules" / "ai").exists():
        pytest.skip("needs packages/coachstream/tests/functions/clients/node/install.sh to have been run")
    return [node, str(PROGRAMS / program), str(MODULES)]


class Oracle:
    """Reads recorded responses with the official packages."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def read(self, of: str, body: bytes, messages: list[dict[str, object]]) -> dict[str, Any]:
        """What the client of that protocol shows; see `oracle.mjs`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        recorded = {"of": of, "body": body.decode(), "messages": messages}
        self._process.stdin.write(json.dumps(recorded) + "\n")
        self._process.stdin.flush()
        read: dict[str, Any] = json.loads(self._process.stdout.readline())
        return read


@contextmanager
def oracle() -> Iterator[Oracle]:
    """A running oracle."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command("oracle.mjs"), stdin=pipe, stdout=pipe, text=True) as process:
        yield Oracle(process)
        assert process.stdin is not None
        process.stdin.close()


class FrontEnd:
    """Chats that a program has open, by name; see `front_end.mjs`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self, do: str, chat: str, **arguments: object) -> dict[str, Any]:
        """Let the program do something, and return the state of the chat, if it answers with that.

        Raises:
            AssertionError: it could not, or not in time.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = json.dumps({"do": do, "chat": chat, **arguments})
        self._process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            answer_line = await self._process.stdout.readline()
        assert answer_line, "the program has ended; what it wrote to stderr says why"
        answer = json.loads(answer_line)
        assert "failure" not in answer, answer["failure"]
        state: dict[str, Any] = answer["value"] or {}
        return state


@asynccontextmanager
async def front_end() -> AsyncIterator[FrontEnd]:
    """A program in which chats can be opened."""
    process = await asyncio.create_subprocess_exec(
        *command("front_end.mjs"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    try:
        yield FrontEnd(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
