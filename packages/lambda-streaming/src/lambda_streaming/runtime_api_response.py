"""One streamed response to the Runtime API: a chunked POST, with trailers when it fails.

Source: Lambda developer guide, "Building a custom runtime", section "Implementing response streaming"; the
exact requests of the Node runtime interface client 4.0.2. As there, each write is a chunk, and the connection
is opened while the handler already runs.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import quote

import msgspec

from lambda_streaming.error_trailers import (
    ERROR_BODY_TRAILER,
    ERROR_TYPE_TRAILER,
    FunctionError,
    error_trailers,
)
from lambda_streaming.prelude import DELIMITER, PRELUDE_CONTENT_TYPE, ResponseMetadata
from lambda_streaming.response_stream import ResponseBroken
from lambda_streaming.runtime_api_connection import RuntimeApiConnection

_PRELUDE: Final = msgspec.json.Decoder(ResponseMetadata)


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
        self._held = b""
        self._may_hold = False
        self._prelude = b""
        self._connecting: asyncio.Task[None] | None = None
        self._is_connected = False
        self._is_released = False
        self.begun = False
        self.ended = False

    def metadata(self) -> dict[str, object]:
        """Return status and headers of a response that has begun, with the names of a proxy result.

        Cookies are secrets, and left out.
        """
        try:
            prelude = _PRELUDE.decode(self._prelude.removesuffix(DELIMITER))
        except msgspec.MsgspecError:  # there is none, or the handler wrote one of its own
            prelude = ResponseMetadata()
        return {"statusCode": prelude.status_code, "headers": prelude.headers}

    async def connect(self) -> None:
        """Reuse the open connection, or start to connect without waiting for it."""
        if await self._connection.reuse():
            self._is_connected = True
        else:
            self._connecting = asyncio.create_task(self._connection.connect())

    async def open(self, content_type: str) -> None:
        """Prepare the head of the request; it is sent together with the first chunk."""
        headers = [
            f"POST /2018-06-01/runtime/invocation/{quote(self._request_id, safe='')}/response HTTP/1.1",
            f"Host: {self._connection.address}",
            f"User-Agent: {self._user_agent}",
            f"Content-Type: {content_type}",
            "Lambda-Runtime-Function-Response-Mode: streaming",
            "Transfer-Encoding: chunked",
            f"Trailer: {ERROR_TYPE_TRAILER}, {ERROR_BODY_TRAILER}",
        ]
        if self._invocation_id:
            headers.append(f"Lambda-Runtime-Invocation-Id: {self._invocation_id}")
        self._held = "\r\n".join([*headers, "\r\n"]).encode("latin-1")
        self._may_hold = content_type == PRELUDE_CONTENT_TYPE

    async def send(self, data: bytes) -> None:
        """Send a chunk; returns when at most `HIGH_WATER_BYTES` are buffered (backpressure).

        The prelude waits for the chunk that follows it, until the end of the event loop's turn at most.

        Raises:
            ResponseBroken: Lambda responded before the end, or the connection is lost.
        """
        if data:  # an empty chunk would be the last one
            if self._may_hold:
                self._prelude = data
            await self._transmit(_chunk(data), may_hold=self._may_hold)
            self._may_hold = False

    async def close(self, last: bytes = b"") -> None:
        """Send a last piece, if any, and the last chunk.

        Raises:
            ResponseBroken: as for `send`.
        """
        await self._transmit((_chunk(last) if last else b"") + b"0\r\n\r\n", is_end=True)

    async def fail(self, error: FunctionError) -> None:
        """End a response that has begun with error trailers, so that it does not look complete.

        Raises:
            ResponseBroken: as for `send`; the response is then cut off, which also marks it as failed.
        """
        trailers = "".join(f"{name}: {value}\r\n" for name, value in error_trailers(error))
        await self._transmit(f"0\r\n{trailers}\r\n".encode("ascii"), is_end=True)

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
        if not self._is_connected:
            raise ResponseBroken("The response was never sent")
        while (status := self._connection.status) is None:
            await self._connection.changed()
        return status

    async def release(self) -> None:
        """Release the connection in whatever state it is; an unfinished response is cut off."""
        self._is_released = True
        if self._connecting is not None and not self._is_connected:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self.begun:
            await self._connection.finish(request_is_complete=self.ended)

    async def _transmit(self, data: bytes, *, may_hold: bool = False, is_end: bool = False) -> None:
        if self._is_released:
            raise ResponseBroken("The invocation that this response belongs to is over")
        await self._connected()
        self._require_no_status()
        self.begun = True
        self.ended = is_end
        self._held += data
        if may_hold:
            asyncio.get_running_loop().call_soon(self._flush)
            return
        self._flush()
        while self._connection.is_congested:
            # Lambda may refuse the response and stop reading: there would never be room again.
            await self._connection.changed()
            self._require_no_status()

    def _flush(self) -> None:
        if self._held:
            self._connection.write(self._held)
            self._held = b""

    async def _connected(self) -> None:
        if self._is_connected:
            return
        if self._connecting is None:
            raise ResponseBroken("The response has no connection")
        try:
            await asyncio.shield(self._connecting)
        except OSError as error:
            address = self._connection.address
            raise ResponseBroken(f"The Runtime API at {address} cannot be reached") from error
        self._is_connected = True

    def _require_no_status(self) -> None:
        if (status := self._connection.status) is not None:
            raise ResponseBroken(f"Lambda ended the response early, with status {status}")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
