"""Waits for the next invocation in a thread, so that the main thread can run signal handlers meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self, TypeVar

T = TypeVar("T")


class PollingThread:
    """A `ThreadPoolExecutor` as awslambdaric uses one: for one call.

    Its thread is a daemon: the interpreter waits for a pool's threads when it exits, so a signal handler that
    exits while the runtime is idle would never end the process.
    """

    def __init__(self, max_workers: int) -> None:
        self._max_workers = max_workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing: whoever needs the result waits for it."""

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Start the call."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 (it is raised where the result is awaited)
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, name="next invocation", daemon=True).start()
        return future
