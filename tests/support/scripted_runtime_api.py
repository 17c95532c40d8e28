"""A Runtime API played by the test against a real runtime process; it records every byte.

Unlike the emulator, it enforces only HTTP, so a test can respond early, late, wrongly or not at all.
"""

from __future__ import annotations

import base64
import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import h11
import msgspec

from support.patience import PATIENCE_S
from support.places import TESTS

PREFIX = "/2018-06-01/runtime"


@dataclass
class Call:
    """One request of the runtime, as it arrives.

    Attributes:
        raw: all its bytes so far, as received on the wire.
        arrived: one entry for each piece of the body as it arrived, None at its end, however it ends.
        complete: whether the request ended as HTTP requires.
        connection: the number of the runtime's connection it arrived on, in the order they were made.
    """

    method: str
    path: str
    headers: dict[str, str]
    raw: bytearray = field(default_factory=bytearray)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    arrived: queue.Queue[bytes | None] = field(default_factory=queue.Queue)
    complete: bool = False
    connection: int = 0

    def next_piece(self) -> bytes:
        """Wait for the next piece of the body."""
        piece = self.arrived.get(timeout=PATIENCE_S)
        assert piece is not None, "the body has ended"
        return piece

    def wait(self) -> Self:
        """Wait for the end of the request."""
        while self.arrived.get(timeout=PATIENCE_S) is not None:
            pass
        return self


def body_on_the_wire(call: Call) -> bytes:
    """The body of a call with its framing: chunks, last chunk, trailers."""
    return bytes(call.raw).partition(b"\r\n\r\n")[2]


def error_in_trailers(call: Call) -> dict[str, object]:
    """The error that a response ended with."""
    encoded = call.trailers["lambda-runtime-function-error-body"]
    return msgspec.json.decode(base64.b64decode(encoded), type=dict[str, object])


class ScriptedRuntimeApi:
    """Listens on a free port; every `give` responds to one `/next`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._events: queue.Queue[bytes | None] = queue.Queue()
        self._calls: queue.Queue[Call] = queue.Queue()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.asked = threading.Semaphore(0)
        self.read_on = threading.Event()
        self.read_on.set()
        self.answer_early: bytes | None = None
        self.status = 202
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def give(
        self,
        event: object = None,
        *,
        request_id: str = "req-1",
        content_type: str = "application/json",
        **headers: str,
    ) -> None:
        """Wait for a `/next` and respond; `trace_id="x"` sends the header `Lambda-Runtime-Trace-Id: x`."""
        self.wait_until_asked()
        payload = msgspec.json.encode(event)
        lines = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + 60) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:fn",
            "Content-Type": content_type,
            "Content-Length": str(len(payload)),
        } | {f"Lambda-Runtime-{name.title().replace('_', '-')}": value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._events.put(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + payload)

    def call(self) -> Call:
        """Wait for the head of the next call that is not `/next`."""
        return self._calls.get(timeout=PATIENCE_S)

    def no_call(self) -> bool:
        """Whether the runtime has made no other call so far."""
        return self._calls.empty()

    def break_connections(self) -> None:
        """Close every connection except the oldest one, on which the runtime polls for events."""
        self._break(self._sockets[1:])

    def break_every_connection(self) -> None:
        """Close every connection, including the one on which the runtime polls for events."""
        self._break(self._sockets)

    @staticmethod
    def _break(connections: Sequence[socket.socket]) -> None:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def connections(self) -> int:
        """The number of connections so far."""
        return len(self._sockets)

    def wait_until_asked(self) -> None:
        """Wait until the runtime polls for another event after the last one it was given."""
        assert self.asked.acquire(timeout=PATIENCE_S), "the runtime did not ask for an event"

    def close(self) -> None:
        """End all connections and threads."""
        self.read_on.set()
        self._events.put(None)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(PATIENCE_S)
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        for connection in self._sockets:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._sockets.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, h11.RemoteProtocolError):
            while self._serve_one_call(connection):
                pass

    def _serve_one_call(self, connection: socket.socket) -> bool:
        """Read a request and respond; returns whether another one may follow."""
        http = h11.Connection(h11.SERVER)
        raw = bytearray()
        call: Call | None = None
        try:
            while True:
                match http.next_event():
                    case h11.NEED_DATA:
                        self.read_on.wait(PATIENCE_S)
                        data = connection.recv(65_536)
                        raw.extend(data)
                        http.receive_data(data)
                    case h11.Request() as head:
                        call = self._begin(connection, head, raw)
                    case h11.Data() as data_event if call is not None:
                        call.body += data_event.data
                        call.arrived.put(bytes(data_event.data))
                    case h11.EndOfMessage() as end if call is not None:
                        call.trailers = {name.decode(): value.decode() for name, value in end.headers}
                        call.complete = True
                        call.arrived.put(None)
                        return self._answer(connection, call) and http.their_state is not h11.MUST_CLOSE
                    case _:
                        return False
        finally:
            if call is not None and not call.complete:
                call.arrived.put(None)

    def _begin(self, connection: socket.socket, head: h11.Request, raw: bytearray) -> Call:
        call = Call(
            head.method.decode(),
            head.target.decode(),
            {name.decode(): value.decode() for name, value in head.headers},
            raw=raw,
            connection=self._sockets.index(connection),
        )
        if not call.path.endswith("/invocation/next"):
            self._calls.put(call)
        if self.answer_early is not None and call.path.endswith("/response"):
            connection.sendall(self.answer_early)
        return call

    def _answer(self, connection: socket.socket, call: Call) -> bool:
        if call.path.endswith("/invocation/next"):
            self.asked.release()
            event = self._events.get()
            if event is None:
                self._events.put(None)
                return False
            connection.sendall(event)
        elif call.path.endswith("/restore/next"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif self.answer_early is None or not call.path.endswith("/response"):
            body = b'{"status":"OK"}\n'
            connection.sendall(
                f"HTTP/1.1 {self.status} X\r\nContent-Type: application/json\r\n".encode()
                + f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
        return True


@contextlib.contextmanager
def scripted_runtime_api() -> Iterator[ScriptedRuntimeApi]:
    """A Runtime API for as long as the block lasts."""
    api = ScriptedRuntimeApi()
    try:
        yield api
    finally:
        api.close()


def runtime_environment(address: str) -> dict[str, str]:
    """The environment variables of a runtime process, which can import the tests' own modules."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": "fn",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_LOG_GROUP_NAME": "group",
        "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
        "PYTHONPATH": str(TESTS),
    }


class Runtime:
    """A runtime process under test."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """The process's output so far."""
        return self._log.read_text(errors="replace")

    def wait_for_log(self, text: str) -> None:
        """Wait until the process has printed a text."""
        until = time.monotonic() + PATIENCE_S
        while text not in self.log:
            assert time.monotonic() < until, f"{text!r} is not in the log:\n{self.log}"
            os.sched_yield()

    def wait(self) -> int:
        """Wait until the process ends and return its exit status."""
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def runtime(
    api: ScriptedRuntimeApi,
    handler: str,
    log: Path,
    *,
    module: str = "lambda_streaming",
    command: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[Runtime]:
    """Run `python -m lambda_streaming HANDLER`, or another command, during the block, in a folder."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command or [sys.executable, "-m", module, handler],
            env=runtime_environment(api.address) | dict(environment or {}),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Runtime(process, log)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
