"""An ASGI app behind a real uvicorn on a free port, in a thread of its own, for tests that speak HTTP."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator

import uvicorn

from support.patience import PATIENCE_S


@contextlib.contextmanager
def served(app: Callable[..., Awaitable[None]]) -> Iterator[str]:
    """Serve during the block; yields the base URL, ending with `/`."""
    config = uvicorn.Config(
        app,
        log_level="error",
        lifespan="auto",
        timeout_graceful_shutdown=2,
        timeout_keep_alive=int(PATIENCE_S),
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="uvicorn")
    thread.start()
    try:
        _wait_until_started(server, thread)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        listening.close()
        assert not thread.is_alive(), "uvicorn did not stop"


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    # uvicorn only sets an attribute; joining the thread waits, and ends early if it dies.
    for _ in range(int(PATIENCE_S / 0.01)):
        if server.started:
            return
        thread.join(0.01)
        assert thread.is_alive(), "uvicorn did not start"
    raise TimeoutError("uvicorn did not start")
