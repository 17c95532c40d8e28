"""A Lambda runtime that executes the steps in each event: `python scripted_runtime.py [STEP...]`.

An event is a JSON list of steps, or a Function URL event whose body is one; the arguments are steps taken
before the first event. It imports little of the standard library, so that it starts in tens of milliseconds.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

HOST, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
PREFIX = "/2018-06-01/runtime/"


class Connection:
    """One connection to the Runtime API."""

    def __init__(self) -> None:
        self.socket = socket.create_connection((HOST, int(PORT)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, *lines: str, body: bytes = b"") -> None:
        """Send the lines of a head, then a body."""
        self.socket.sendall("\r\n".join((*lines, "", "")).encode() + body)

    def response(self) -> tuple[dict[str, str], bytes]:
        """Read one response."""
        status = self.file.readline()
        if not status:
            raise SystemExit("the Runtime API has gone")
        headers = {}
        while (line := self.file.readline().decode().strip()) != "":
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return headers, self.file.read(int(headers["content-length"]))


class Response:
    """The streamed response to one event."""

    def __init__(self, api: Connection, request_id: str) -> None:
        self.api = api
        self.path = f"{PREFIX}invocation/{request_id}/"
        self.begun = False
        self.responded = False

    def write(self, data: bytes) -> None:
        """Write one chunk, preceded by the head if it has not been sent."""
        if not self.begun:
            self.begun = True
            line = f"POST {self.path}response HTTP/1.1"
            self.api.send(line, "Host: 127.0.0.1", "Transfer-Encoding: chunked")
        if data:
            self.api.socket.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end(self) -> None:
        """End the response and wait for the API's response."""
        if not self.responded:
            self.responded = True
            self.write(b"")
            self.api.socket.sendall(b"0\r\n\r\n")
            self.api.response()

    def error(self, path: str, error_type: str, message: str) -> None:
        """Report an error and wait for the API's response."""
        self.responded = True
        body = json.dumps({"errorType": error_type, "errorMessage": message}).encode()
        self.api.send(f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", body=body)
        self.api.response()


def take(step: Sequence[Any], response: Response) -> None:  # noqa: C901, PLR0912 (one case a step)
    """Take one step."""
    match step:
        case ["write", text]:
            response.write(text.encode())
        case ["write-pid"]:
            response.write(f"{os.getpid()}\n".encode())
        case ["write-variable", name]:
            response.write(os.environ.get(name, "(unset)").encode())
        case ["write-until-stopped"]:
            while True:
                response.write(b"x" * 65_536)
        case ["end"]:
            response.end()
        case ["error", error_type, message]:
            response.error(f"{response.path}error", error_type, message)
        case ["init-error", error_type, message]:
            response.error(f"{PREFIX}init/error", error_type, message)
        case ["gate", port]:
            with socket.create_connection(("127.0.0.1", int(port))) as gate:
                gate.sendall(b"waiting\n")
                gate.makefile("rb").readline()
        case ["tick", port]:
            threading.Thread(target=tick, args=(int(port),), daemon=True).start()
        case ["child"]:
            with open("/dev/null", "rb") as nothing:  # noqa: PTH123 (pathlib would double the time to start)
                child = subprocess.Popen(["sleep", "600"], stdin=nothing)
            response.write(f"{child.pid}\n".encode())
        case ["print", text]:
            print(text, flush=True)  # noqa: T201
        case ["exit", status]:
            os._exit(int(status))
        case ["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["ignore-terminate"]:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        case ["hang"]:
            threading.Event().wait()
        case _:
            raise SystemExit(f"what is {step}?")


def tick(port: int) -> None:
    """Send dots at intervals, forever."""
    with socket.create_connection(("127.0.0.1", port)) as clock:
        while True:
            clock.sendall(b".")
            time.sleep(0.002)


def main() -> None:
    """Take the steps of the arguments, then those of each event."""
    api = Connection()
    for argument in sys.argv[1:]:
        take(argument.split(","), Response(api, "none"))
    while True:
        api.send(f"GET {PREFIX}invocation/next HTTP/1.1", "Host: 127.0.0.1")
        headers, body = api.response()
        event = json.loads(body)
        response = Response(api, headers["lambda-runtime-aws-request-id"])
        for step in json.loads(event["body"]) if isinstance(event, dict) else event:
            take(step, response)
        response.end()


if __name__ == "__main__":
    main()
