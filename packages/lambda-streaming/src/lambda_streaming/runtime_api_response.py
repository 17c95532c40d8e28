"""One streamed response on its way to the Runtime API: a POST in chunks, with trailers when it fails.

Source: Lambda developer guide, "Building a custom runtime", section "Implementing response streaming"; the
exact requests of the Node runtime interface client 4.0.2. As there, a write is a chunk, and a connection is
made while the handler already runs.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import h11

from lambda_streaming.error_trailers import (
    ERROR_BODY_TRAILER,
    ERROR_TYPE_TRAILER,
    FunctionError,
    error_trailers,
)
from lambda_streaming.response_stream import ResponseBroken
from lambda_streaming.runtime_api_connection import HIGH_WATER_BYTES, RuntimeApiConnection

_READ_BYTES = 64 * 1024


class RuntimeApiResponse:
    """The transport of one invocation's response; used on one event loop.

    Args:
        connection: to the Runtime API; no other response uses it at the same time.
        request_id: the invocation.
        invocation_id: of this attempt at it, echoed where Lambda gave one.
        user_agent: as all calls of the runtime send it.

    Attributes:
        begun: whether a byte has been sent; from then on Lambda knows of a response.
        ended: whether the last chunk has been sent.
    """

    def __init__(
        self, connection: RuntimeApiConnection, request_id: str, invocation_id: str | None, user_agent: str
    ) -> None:
        self._connection = connection
        self._request_id = request_id
        self._invocation_id = invocation_id
        self._user_agent = user_agent
        self._request: h11.Request | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._answer: asyncio.Task[int] | None = None
        self.begun = False
        self.ended = False

    async def connect(self) -> None:
        """Take the connection if it is there, or begin to make one; the handler need not wait for that."""
        if await self._connection.reuse():
            self._await_answer()
        else:
            self._connecting = asyncio.create_task(self._connect())

    async def open(self, content_type: str) -> None:
        """Make the head of the request; it goes out together with the first chunk."""
        headers = [
            ("Host", self._connection.address),
            ("User-Agent", self._user_agent),
            ("Content-Type", content_type),
            ("Lambda-Runtime-Function-Response-Mode", "streaming"),
            ("Transfer-Encoding", "chunked"),
            ("Trailer", f"{ERROR_TYPE_TRAILER}, {ERROR_BODY_TRAILER}"),
        ]
        if self._invocation_id:
            headers.append(("Lambda-Runtime-Invocation-Id", self._invocation_id))
        target = f"/2018-06-01/runtime/invocation/{quote(self._request_id, safe='')}/response"
        self._request = h11.Request(method="POST", target=target, headers=headers)

    async def send(self, data: bytes) -> None:
        """Send a chunk; returns when no more than `HIGH_WATER_BYTES` wait to be taken.

        Raises:
            ResponseBroken: Lambda answered before the end, or the connection is gone.
        """
        await self._transmit(h11.Data(data=data))

    async def close(self) -> None:
        """Send the last chunk.

        Raises:
            ResponseBroken: as for `send`.
        """
        await self._transmit(h11.EndOfMessage())

    async def fail(self, error: FunctionError) -> None:
        """End a response that has begun with error trailers, so that it does not look complete.

        Raises:
            ResponseBroken: as for `send`; the response then breaks off, which says the same.
        """
        await self._transmit(h11.EndOfMessage(headers=error_trailers(error)))

    def require_end(self) -> None:
        """Make sure of the end, which a handler may have cancelled and forgotten.

        Raises:
            ResponseBroken: the last chunk was not sent.
        """
        if not self.ended:
            raise ResponseBroken("The response broke off while it ended")

    async def answered(self) -> int:
        """Wait until Lambda has taken the whole response, and return the HTTP status of its answer.

        Raises:
            ResponseBroken: the connection ended without an answer.
        """
        if self._answer is None:
            raise ResponseBroken("The response was never sent")
        return await asyncio.shield(self._answer)

    async def release(self) -> None:
        """Give the connection back, whatever state it is in; a response that has not ended breaks off."""
        for task in (self._connecting, self._answer):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self.ended or self.begun:
            await self._connection.finish()
        else:
            await self._connection.drop()  # its protocol has begun a cycle that nothing was sent in

    async def _connect(self) -> None:
        await self._connection.connect()
        self._await_answer()

    def _await_answer(self) -> None:
        self._answer = asyncio.create_task(self._read_answer())

    async def _transmit(self, event: h11.Data | h11.EndOfMessage) -> None:
        await self._connected()
        self._require_unanswered()
        http, writer = self._connection.http, self._connection.writer
        request, self._request = self._request, None
        head = b"" if request is None else http.send(request) or b""
        self.begun = True
        writer.write(head + (http.send(event) or b""))
        self.ended = isinstance(event, h11.EndOfMessage)
        if writer.transport.get_write_buffer_size() > HIGH_WATER_BYTES:
            await self._drain(writer)

    async def _connected(self) -> None:
        if self._answer is not None:
            return
        if self._connecting is None:
            raise ResponseBroken("The response has no connection")
        try:
            await asyncio.shield(self._connecting)
        except OSError as error:
            address = self._connection.address
            raise ResponseBroken(f"The Runtime API at {address} cannot be reached") from error

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        # Lambda may refuse the response and stop reading: a drain alone would then never return.
        draining = asyncio.create_task(writer.drain())
        try:
            await asyncio.wait(
                [draining] if self._answer is None else [draining, self._answer],
                return_when=asyncio.FIRST_COMPLETED,
            )
            if draining.done():
                draining.result()
        except OSError as error:
            raise ResponseBroken("The connection to the Runtime API was lost") from error
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)
        self._require_unanswered()

    def _require_unanswered(self) -> None:
        if self._answer is not None and self._answer.done():
            if self._answer.cancelled():
                raise ResponseBroken("The invocation that this response belongs to is over")
            status = self._answer.result()  # raises ResponseBroken if the connection is gone
            raise ResponseBroken(f"Lambda ended the response early, with status {status}")

    async def _read_answer(self) -> int:
        http, reader = self._connection.http, self._connection.reader
        status = 0
        try:
            while True:
                # h11 has nothing to say of an answer until the request was sent.
                data = await reader.read(_READ_BYTES)
                http.receive_data(data)
                while (event := http.next_event()) is not h11.NEED_DATA:
                    match event:
                        case h11.Response(status_code=status):
                            pass
                        case h11.EndOfMessage():
                            return status
                        case h11.ConnectionClosed() | h11.PAUSED:
                            raise ResponseBroken("The connection to the Runtime API was lost")
                        case _:
                            pass
        except (OSError, h11.RemoteProtocolError) as error:
            raise ResponseBroken("The connection to the Runtime API was lost") from error
