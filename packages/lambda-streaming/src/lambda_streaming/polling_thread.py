"""Where awslambdaric waits for the next invocation.

On the main thread, Python could not run signal handlers meanwhile, so another thread waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final, Self

_LONGEST_WAIT_S: Final = 0.1
"""A signal that arrives just before the main thread waits does not wake it. Lambda gives SIGTERM 300 ms;
while a function is frozen, waking up costs nothing."""


class _Invocation(Future[Any]):
    """A result that the main thread can wait for while it runs signal handlers."""

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401 (as its base class)
        """Return the result; without a timeout, signal handlers run within `_LONGEST_WAIT_S`."""
        while timeout is None:
            try:
                return super().result(_LONGEST_WAIT_S)
            except TimeoutError:
                if self.done():
                    break  # the call's own error
        return super().result(timeout)


class CallingThread:
    """Stands in for the `ThreadPoolExecutor` that awslambdaric makes for each call: makes it where it is."""

    def __call__(self, max_workers: int) -> Self:  # noqa: ARG002 (awslambdaric's)
        """Return itself, where awslambdaric makes a pool."""
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing: a caller that needs the result waits for it."""

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Make the call now."""
        return _settled(Future(), work)


class PollingThread(CallingThread):
    """Makes the calls in a thread of its own.

    The thread is kept, and it is a daemon: the interpreter waits for a pool's threads when it exits, so a
    signal handler that exits while the runtime is idle would never end the process.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Start the call. The thread is started with the first one, hence after a fork and a restore."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="next invocation", daemon=True)
            self._thread.start()
        future = _Invocation()
        self._calls.put((work, future))
        return future

    def _run(self) -> None:
        while True:
            work, future = self._calls.get()
            _settled(future, work)
            del future  # or the last event would be kept until the next one


def _settled(future: Future[Any], work: Callable[[], Any]) -> Future[Any]:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 (it is raised where the result is awaited)
        future.set_exception(error)
    else:
        future.set_result(result)
    return future
