"""Serves an ASGI app over HTTP until a stop signal, then shuts down gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn

from lambda_streaming.emulator.gate import App
from lambda_streaming.emulator.http_protocol import LimitedH11Protocol

BACKLOG: Final = 2048

_ANOTHER_PORT: Final = "Choose another one with --port, or --port 0 for any free one."
_ANOTHER_HOST: Final = "Choose an address of this machine with --host, such as 127.0.0.1."


class CannotListen(Exception):
    """Raised when listening on a host and port fails; the message has the reason and the remedy."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a host and port, port 0 being any free one.

    Raises:
        CannotListen: the port is in use or not permitted, or the host does not exist.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except socket.gaierror as error:
        raise CannotListen(f"There is no address {host!r} to listen on. {_ANOTHER_HOST}") from error
    except (OSError, OverflowError) as error:
        raise CannotListen(_why_not(error, host, port)) from error
    # Inherited by each connection. asyncio sets it only for sockets created with an explicit protocol, unlike
    # this one: a small response on a keep-alive connection would wait 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _why_not(error: OSError | OverflowError, host: str, port: int) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return f"Port {port} is in use. {_ANOTHER_PORT}"
        case errno.EACCES:
            return f"Port {port} needs privileges. {_ANOTHER_PORT}"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine. {_ANOTHER_HOST}"
        case None:
            return f"{port} is not a port. {_ANOTHER_PORT}"
        case number:
            return f"Cannot listen on {host} port {port}: {os.strerror(number)}. {_ANOTHER_HOST}"


def url_of(listening: socket.socket) -> str:
    """Return the URL for a browser on this machine."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class EmbeddedServer(uvicorn.Server):
    """uvicorn in a program that handles signals itself; uvicorn would re-raise them when it exits.

    Args:
        config: uvicorn's.
        on_ready: called once, when connections are accepted.
    """

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then call `on_ready`."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the program."""
        yield


def server_config(app: App, *, has_lifespan: bool, grace_s: int) -> uvicorn.Config:
    """Return the configuration of every local server: limited, quiet, and trusting no proxy header.

    Args:
        app: the application to serve; put a `Gate` in front of it.
        has_lifespan: whether the application is started and closed through ASGI's lifespan.
        grace_s: how long open responses may take during shutdown.
    """
    return uvicorn.Config(
        app,
        http=LimitedH11Protocol,
        ws="none",
        lifespan="on" if has_lifespan else "off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Otherwise any client could forge its address with X-Forwarded-For.
        proxy_headers=False,
        timeout_graceful_shutdown=grace_s,
    )


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that stop a server: SIGINT, SIGTERM, and SIGHUP, sent when the terminal closes.

    SIGHUP is left out where it is ignored, as under `nohup`.
    """
    always = (signal.SIGINT, signal.SIGTERM)
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return (*always, signal.SIGHUP) if hangs_up else always


async def serve(
    app: App,
    listening: socket.socket,
    *,
    grace_s: float,
    on_ready: Callable[[], None],
    on_stop: Callable[[], None],
) -> None:
    """Serve until a stop signal; then accept no more requests and drain running responses.

    Args:
        app: closed at the end, through the ASGI lifespan.
        listening: the socket to accept from; closed at the end.
        grace_s: how long running responses may take after the signal. `on_stop` must end them then;
            connections that are still open a second later are closed.
        on_ready: called once, when the server accepts requests.
        on_stop: called at each signal; a second one asks for an immediate stop.
    """
    server = EmbeddedServer(
        server_config(app, has_lifespan=True, grace_s=math.ceil(grace_s) + 1),
        on_ready,
    )
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True
        on_stop()

    taken = stop_signals()
    for number in taken:
        loop.add_signal_handler(number, stop)
    try:
        await server.serve(sockets=[listening])
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
        listening.close()
