"""Runs a synchronous handler in a thread while the event loop sends its response.

The thread has the invocation's context variables. Its writes wait until Lambda can take more, so it never
runs ahead of a slow reader. A thread cannot be cancelled: when the invocation is, the next write of its
handler fails.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import logging
import threading
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from typing import Any, Final

from lambda_streaming.invocation_tasks import MAX_CLEAN_UP_S
from lambda_streaming.response_stream import Data, ResponseBroken, ResponseStream, StreamState

logger = logging.getLogger("lambda_streaming")


class BlockingResponseStream:
    """The response of one invocation for a synchronous handler: a `ResponseStream` whose calls block.

    Args:
        stream: the response, which belongs to the event loop.
        loop: the event loop.
    """

    def __init__(self, stream: ResponseStream, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop
        self._writes: set[concurrent.futures.Future[None]] = set()  # one for each thread of the handler
        self._abandoned = threading.Event()

    @property
    def state(self) -> StreamState:
        """How far the response has come."""
        return self._stream.state

    @property
    def content_type(self) -> str:
        """The response's content type."""
        return self._stream.content_type

    def set_content_type(self, content_type: str) -> None:
        """Set a content type; see `ResponseStream.set_content_type`."""
        self._stream.set_content_type(content_type)

    def write(self, data: Data) -> None:
        """Send a piece of the response; returns when Lambda can take more; see `ResponseStream.write`.

        Raises:
            ResponseBroken: the piece cannot arrive, or the invocation was cancelled.
        """
        self._wait_for(self._stream.write(data))

    def end(self, data: Data | None = None) -> None:
        """Send a last piece, if any, and end the response; see `ResponseStream.end`."""
        self._wait_for(self._stream.end(data))

    def abandon(self) -> None:
        """Let the writes that are under way, and later ones, fail."""
        self._abandoned.set()
        for write in self._writes.copy():
            write.cancel()

    def _set_prelude(self, prelude: bytes) -> None:
        self._stream._set_prelude(prelude)  # noqa: SLF001 (two halves of one thing)

    def _wait_for(self, sending: Coroutine[Any, Any, None]) -> None:
        if self._abandoned.is_set():
            sending.close()
            raise ResponseBroken("The invocation was cancelled")
        write = asyncio.run_coroutine_threadsafe(sending, self._loop)
        self._writes.add(write)
        if self._abandoned.is_set():  # since the look above, when `abandon` did not know this write
            write.cancel()
        try:
            write.result()
        except concurrent.futures.CancelledError as error:
            raise ResponseBroken("The invocation was cancelled") from error
        finally:
            self._writes.discard(write)


async def run_in_thread(
    handler: Callable[..., Any], event: object, stream: ResponseStream, context: object, *, takes_stream: bool
) -> object:
    """Run a handler in a thread of its own, write what it yields, and return what it returned otherwise."""
    loop = asyncio.get_running_loop()
    blocking = BlockingResponseStream(stream, loop)
    finished: asyncio.Future[object] = loop.create_future()

    def work() -> None:
        try:
            returned = handler(event, blocking, context) if takes_stream else handler(event, context)
            result = _write_pieces(returned, blocking)
        except StopIteration as error:  # a future cannot hold it
            stopped = RuntimeError("The handler raised StopIteration")
            stopped.__cause__ = error
            _settle(loop, finished, error=stopped)
        except BaseException as error:  # noqa: BLE001 (SystemExit ends the process, as on the main thread)
            _settle(loop, finished, error=error)
        else:
            _settle(loop, finished, result=result)

    in_context = functools.partial(contextvars.copy_context().run, work)
    # A daemon, so that a handler that never returns cannot keep the process from ending.
    threading.Thread(target=in_context, name="handler", daemon=True).start()
    try:
        return await asyncio.shield(finished)
    except asyncio.CancelledError:
        blocking.abandon()
        await asyncio.wait({finished}, timeout=MAX_CLEAN_UP_S)
        if not finished.done():
            logger.error("The handler's thread ignores that its invocation was cancelled")  # noqa: TRY400
        elif not finished.cancelled():
            finished.exception()
        raise


def _write_pieces(returned: object, stream: BlockingResponseStream) -> object:
    """Write what an iterable yields; what is no iterable of pieces is returned."""
    if not isinstance(returned, Iterable) or isinstance(returned, _WHOLE_RESULTS):
        return returned
    try:
        for piece in returned:
            stream.write(piece)
    finally:
        if isinstance(returned, Generator):
            returned.close()
    return None


_WHOLE_RESULTS: Final = (str, bytes, bytearray, memoryview, Mapping, list, tuple)


def _settle(
    loop: asyncio.AbstractEventLoop,
    finished: asyncio.Future[object],
    *,
    result: object = None,
    error: BaseException | None = None,
) -> None:
    def settle() -> None:
        if finished.done():
            return
        if error is None:
            finished.set_result(result)
        else:
            finished.set_exception(error)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        logger.debug("The event loop was closed before the handler returned")
