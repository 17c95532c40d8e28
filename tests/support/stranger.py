"""Asks a Runtime API for events and forges responses: `python stranger.py ADDRESS REQUEST_ID USER_ID TIMES`.

Run it outside the execution environment. It prints a JSON list of the responses, two per attempt: the status,
or null if the connection ended without one, and the body.
"""

import encodings.idna  # noqa: F401 (used by `socket`; another user may not be able to read the interpreter's files)
import json
import os
import socket
import sys

PREFIX = "/2018-06-01/runtime/invocation"


def ask(address: tuple[str, int], request: bytes) -> tuple[int | None, str]:
    """Send one request on a new connection."""
    received = b""
    try:
        with socket.create_connection(address, timeout=120) as connection:
            connection.sendall(request)
            while data := connection.recv(65_536):
                received += data
    except OSError:
        pass
    head, _, body = received.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else None), body.decode()


def main(runtime_api: str, request_id: str, user_id: str, times: str) -> None:
    """Switch to another user if requested, then make the attempts."""
    os.setuid(int(user_id))
    host, _, port = runtime_api.partition(":")
    line = f"Host: {runtime_api}\r\nConnection: close\r\n"
    theft = f"GET {PREFIX}/next HTTP/1.1\r\n{line}\r\n"
    forgery = f"POST {PREFIX}/{request_id}/response HTTP/1.1\r\n{line}Content-Length: 6\r\n\r\nforged"
    attempts = [theft, forgery] * int(times)
    print(json.dumps([ask((host, int(port)), attempt.encode()) for attempt in attempts]))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
