"""One streamed response to the Runtime API: a chunked POST, with trailers when it fails.

Source: Lambda developer guide, "Building a custom runtime", section "Implementing response streaming"; the
exact requests of the Node runtime interface client 4.0.2. As there, each write is a chunk, and the connection
is opened while the handler already runs.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

import h11
import msgspec

from lambda_streaming.error_trailers import (
    ERROR_BODY_TRAILER,
    ERROR_TYPE_TRAILER,
    FunctionError,
    error_trailers,
)
from lambda_streaming.prelude import DELIMITER, PRELUDE_CONTENT_TYPE
from lambda_streaming.response_stream import ResponseBroken
from lambda_streaming.runtime_api_connection import HIGH_WATER_BYTES, RuntimeApiConnection

_READ_BYTES = 64 * 1024
_PRELUDE: Final = msgspec.json.Decoder(dict[str, object])


class RuntimeApiResponse:
    """The transport of one invocation's response; used on one event loop.

    Args:
        connection: to the Runtime API; no other response may use it at the same time.
        request_id: the invocation's request id.
        invocation_id: the id of this attempt, echoed if Lambda sent one.
        user_agent: the user agent of all the runtime's calls.

    Attributes:
        begun: whether a byte has been sent; Lambda then expects the rest of the response.
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
        self._status: asyncio.Task[int] | None = None
        self._prelude = b""
        self._awaits_prelude = False
        self.begun = False
        self.ended = False

    def metadata(self) -> dict[str, object]:
        """Return status and headers of a response that has begun; cookies are secrets, and left out."""
        if not self._prelude:
            return {"statusCode": 200, "headers": {}}
        prelude = _PRELUDE.decode(self._prelude.removesuffix(DELIMITER))
        return {"statusCode": prelude["statusCode"], "headers": prelude["headers"]}

    async def connect(self) -> None:
        """Reuse the open connection, or start to connect without waiting for it."""
        if await self._connection.reuse():
            self._start_reading_status()
        else:
            self._connecting = asyncio.create_task(self._connect())

    async def open(self, content_type: str) -> None:
        """Prepare the head of the request; it is sent together with the first chunk."""
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
        self._awaits_prelude = content_type == PRELUDE_CONTENT_TYPE
        target = f"/2018-06-01/runtime/invocation/{quote(self._request_id, safe='')}/response"
        self._request = h11.Request(method="POST", target=target, headers=headers)

    async def send(self, data: bytes) -> None:
        """Send a chunk; returns when at most `HIGH_WATER_BYTES` are buffered (backpressure).

        Raises:
            ResponseBroken: Lambda responded before the end, or the connection is lost.
        """
        if self._awaits_prelude:
            self._prelude = data
            self._awaits_prelude = False
        if data:  # an empty chunk would be the last one
            # The frame that h11 makes of `h11.Data`, at a tenth of its cost.
            await self._transmit(b"%x\r\n%b\r\n" % (len(data), data))

    async def close(self) -> None:
        """Send the last chunk.

        Raises:
            ResponseBroken: as for `send`.
        """
        await self._transmit(b"", h11.EndOfMessage())

    async def fail(self, error: FunctionError) -> None:
        """End a response that has begun with error trailers, so that it does not look complete.

        Raises:
            ResponseBroken: as for `send`; the response is then cut off, which also marks it as failed.
        """
        await self._transmit(b"", h11.EndOfMessage(headers=error_trailers(error)))

    def require_end(self) -> None:
        """Verify that the last chunk was sent: a handler may have suppressed a cancelled `end`.

        Raises:
            ResponseBroken: the last chunk was not sent.
        """
        if not self.ended:
            raise ResponseBroken("The response was interrupted before its end was sent")

    async def status(self) -> int:
        """Wait until Lambda has received the whole response, and return the HTTP status that it replied.

        Raises:
            ResponseBroken: the connection ended without a status.
        """
        if self._status is None:
            raise ResponseBroken("The response was never sent")
        return await asyncio.shield(self._status)

    async def release(self) -> None:
        """Release the connection in whatever state it is; an unfinished response is cut off."""
        for task in (self._connecting, self._status):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self.ended or self.begun:
            await self._connection.finish()
        else:
            await self._connection.drop()  # its protocol state expects a request that was never sent

    async def _connect(self) -> None:
        await self._connection.connect()
        self._start_reading_status()

    def _start_reading_status(self) -> None:
        self._status = asyncio.create_task(self._read_status())

    async def _transmit(self, chunk: bytes, end: h11.EndOfMessage | None = None) -> None:
        await self._connected()
        self._require_no_status()
        http, writer = self._connection.http, self._connection.writer
        if self._request is not None:
            chunk = (http.send(self._request) or b"") + chunk
            self._request = None
        if end is not None:
            chunk += http.send(end) or b""
        self.begun = True
        writer.write(chunk)
        self.ended = end is not None
        if writer.transport.get_write_buffer_size() > HIGH_WATER_BYTES:
            await self._drain(writer)

    async def _connected(self) -> None:
        if self._status is not None:
            return
        if self._connecting is None:
            raise ResponseBroken("The response has no connection")
        try:
            await asyncio.shield(self._connecting)
        except OSError as error:
            address = self._connection.address
            raise ResponseBroken(f"The Runtime API at {address} cannot be reached") from error

    async def _drain(self, writer: asyncio.StreamWriter) -> None:
        # Lambda may refuse the response and stop reading: `drain` alone would then never return.
        draining = asyncio.create_task(writer.drain())
        try:
            await asyncio.wait(
                [draining] if self._status is None else [draining, self._status],
                return_when=asyncio.FIRST_COMPLETED,
            )
            if draining.done():
                draining.result()
        except OSError as error:
            raise ResponseBroken("The connection to the Runtime API was lost") from error
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)
        self._require_no_status()

    def _require_no_status(self) -> None:
        if self._status is not None and self._status.done():
            if self._status.cancelled():
                raise ResponseBroken("The invocation that this response belongs to is over")
            status = self._status.result()  # raises ResponseBroken if the connection is lost
            raise ResponseBroken(f"Lambda ended the response early, with status {status}")

    async def _read_status(self) -> int:
        http, reader = self._connection.http, self._connection.reader
        status = 0
        try:
            while True:
                # h11 yields no response events until the request has been sent.
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
