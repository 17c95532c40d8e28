"""A rendezvous between a response's writer and its reader: no chunk is buffered.

`put` returns when the reader has taken the chunk, so a slow reader exerts backpressure on the writer. If the
reader is already waiting, `put` returns at once.
"""

from __future__ import annotations

import asyncio
from typing import Self

from lambda_streaming.function_url.invoker import InvocationFailed, InvocationResponse, ResponseBrokenOff
from lambda_streaming.response_stream import DEFAULT_CONTENT_TYPE


class Handover:
    """Hands over one response. Used on one event loop, by one writer and one reader.

    Read it through `response()`. As an async iterator it yields the chunks, and raises the failure itself.

    Attributes:
        content_type: the response's content type, to be set before its first chunk.
    """

    def __init__(self) -> None:
        self.content_type = DEFAULT_CONTENT_TYPE
        self._reader: asyncio.Future[bytes | None] | None = None
        self._offer: tuple[bytes, asyncio.Future[None]] | None = None
        self._failure: InvocationFailed | None = None
        self._closed = False
        self._abandoned = False

    @property
    def ended(self) -> bool:
        """Whether the writer has called `close` or `fail`."""
        return self._closed or self._failure is not None

    async def put(self, chunk: bytes) -> None:
        """Hand over a chunk; returns when it is taken, or at once if the response has been abandoned."""
        while self._offer is not None:
            await asyncio.wait((self._offer[1],))
        if not chunk or self.ended or self._abandoned:
            # A writer without a reader must still yield to the other tasks of the loop.
            await asyncio.sleep(0)
            return
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(chunk)
            return
        self._offer = (chunk, asyncio.get_running_loop().create_future())
        try:
            await self._offer[1]
        except asyncio.CancelledError:
            self._withdraw_offer()
            raise

    def close(self) -> None:
        """End the response cleanly."""
        if not self.ended:
            self._closed = True
            self._wake_reader()

    def fail(self, failure: InvocationFailed) -> None:
        """End the response with a failure; a chunk that has not been taken is lost."""
        if not self.ended:
            self._failure = failure
            self._withdraw_offer()
            self._wake_reader()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._offer is not None:
            chunk, _ = self._offer
            self._withdraw_offer()
            return chunk
        if not self.ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                taken = await self._reader
            finally:
                self._reader = None
            if taken is not None:
                return taken
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    def abandon(self) -> None:
        """Stop reading: further chunks are discarded without blocking the writer."""
        self._abandoned = True
        self._withdraw_offer()

    async def response(self) -> InvocationResponse:
        """Wait for the first chunk or the clean end, and return the response that begins with it.

        Raises:
            InvocationFailed: the failure passed to `fail`, if there was no chunk before it.
        """
        try:
            first = await anext(self, None)
        except BaseException:
            self.abandon()
            raise
        return InvocationResponse(content_type=self.content_type, body=_Body(first, self))

    def _withdraw_offer(self) -> None:
        if self._offer is not None:
            _, taken = self._offer
            self._offer = None
            if not taken.done():
                taken.set_result(None)

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class _Body:
    """The chunks of a response; unlike a generator, it can be closed before its first read."""

    def __init__(self, first: bytes | None, handover: Handover) -> None:
        self._first = first
        self._handover = handover

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            return await anext(self._handover)
        except InvocationFailed as failure:
            raise ResponseBrokenOff(failure.error_type, failure.error_message, failure.report) from failure

    async def aclose(self) -> None:
        self._handover.abandon()
