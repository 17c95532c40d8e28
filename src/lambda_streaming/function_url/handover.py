"""A rendezvous between the one who writes a response and the one who forwards it: no chunk waits in memory.

`put` returns when the reader has taken the chunk, so a slow reader slows the writer down. A writer that finds
its reader waiting goes on without a pause.
"""

from __future__ import annotations

import asyncio
from typing import Self

from lambda_streaming.function_url.invoker import InvocationFailed


class Handover:
    """One response on its way. Used on one event loop, by one writer and one reader.

    As an async iterator it yields the chunks; a failure is raised as the error that `fail` was given.
    """

    def __init__(self) -> None:
        self._reader: asyncio.Future[bytes | None] | None = None
        self._offer: tuple[bytes, asyncio.Future[None]] | None = None
        self._failure: InvocationFailed | None = None
        self._closed = False
        self._abandoned = False

    @property
    def ended(self) -> bool:
        """Whether the writer closed or failed it."""
        return self._closed or self._failure is not None

    async def put(self, chunk: bytes) -> None:
        """Hand a chunk over and return when it is taken; at once if nobody will ever take it."""
        while self._offer is not None:
            await asyncio.wait((self._offer[1],))
        if not chunk or self.ended or self._abandoned:
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
        """End the response with a failure; a chunk that nobody has taken yet is lost."""
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
        """Take nothing any more: the writer goes on as if all were taken."""
        self._abandoned = True
        self._withdraw_offer()

    def _withdraw_offer(self) -> None:
        if self._offer is not None:
            _, taken = self._offer
            self._offer = None
            if not taken.done():
                taken.set_result(None)

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
