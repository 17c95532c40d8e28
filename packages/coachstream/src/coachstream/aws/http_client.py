"""HTTP/1.1 to one AWS endpoint: h11 on asyncio's streams, with connections that are kept open.

A turn makes some ten short requests, and aiohttp takes longer to import than all of them take. Nothing is
retried here: a caller that keeps a deadline decides about that. Failures are botocore's exceptions, so that
callers treat them like those of the SDK.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlsplit

import h11
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)

Headers = Sequence[tuple[str, str]]
TlsContext = Callable[[], Awaitable[ssl.SSLContext]]

KEPT_FOR_S = 60.0
"""How long an idle connection is kept. If the service closes it earlier, that is noticed in time."""

READ_BYTES = 262_144
"""Most that is read at once."""

_STAND_IN = h11.Request(method="POST", target="/", headers=[("Host", "-"), ("Content-Length", "0")])
"""Tells h11 that a request was sent. If it formatted each one, that would take as long as signing it."""

_PORTS = {"http": 80, "https": 443}


class HttpClient:
    """Sends requests to one endpoint.

    Args:
        url: the endpoint, without a path.
        tls_context: the context of `https` connections.
        connections: at once; further requests wait for one.
        connect_timeout_s: until a connection stands.
        read_timeout_s: until a response begins, and between two pieces of it.
    """

    def __init__(
        self,
        url: str,
        tls_context: TlsContext,
        *,
        connections: int,
        connect_timeout_s: float,
        read_timeout_s: float,
    ) -> None:
        parts = urlsplit(url)
        self.url = url
        self.authority = parts.netloc
        self.read_timeout_s = read_timeout_s
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._tls_context = tls_context if parts.scheme == "https" else None
        self._connect_timeout_s = connect_timeout_s
        self._free = asyncio.Semaphore(connections)
        self._idle: deque[_Connection] = deque()
        self._is_closed = False

    async def send(self, method: str, target: str, headers: Headers, body: bytes) -> HttpResponse:
        """Send a request; return its response, whose body has not been read.

        Raises:
            botocore.exceptions.EndpointConnectionError, botocore.exceptions.ConnectTimeoutError: there is no
                connection, so nothing was sent.
            botocore.exceptions.HTTPClientError: a header cannot be sent.
            botocore.exceptions.SSLError: the server's certificate was rejected, for example.
            botocore.exceptions.ReadTimeoutError, botocore.exceptions.ConnectionClosedError: no response
                arrived; the request may have been executed.
        """
        request = _head(method, target, headers) + body
        await self._free.acquire()
        connection: _Connection | None = None
        try:
            connection = self._take_idle() or await self._connect()
            response = HttpResponse(self)
            await response.begin(request, connection)
        except BaseException:
            if connection is not None:
                connection.abort()
            self._free.release()
            raise
        return response

    async def aclose(self) -> None:
        """Close the connections; those in use when their responses have been read."""
        self._is_closed = True
        while self._idle:
            await self._idle.pop().aclose()

    def take_back(self, connection: _Connection) -> None:
        """Keep a connection whose response is complete or closed, if it can be used again."""
        self._free.release()
        if self._is_closed or not connection.is_reusable:
            connection.abort()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        self._close_old()

    def _take_idle(self) -> _Connection | None:
        """The connection that was used last, so that those no longer needed become old."""
        self._close_old()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                connection.http.start_next_cycle()
                return connection
            connection.abort()
        return None

    def _close_old(self) -> None:
        kept_since = time.monotonic() - KEPT_FOR_S
        while self._idle and self._idle[0].idle_since < kept_since:
            self._idle.popleft().abort()

    async def _connect(self) -> _Connection:
        try:
            context = None if self._tls_context is None else await self._tls_context()
        except OSError as error:  # a file of authorities that cannot be read
            raise HTTPClientError(error=error) from error
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                # One address after the other: asyncio, trying several at once, leaks the socket of a caller
                # that is cancelled as the connection is made. The endpoints have addresses of one kind only.
                reader, writer = await asyncio.open_connection(
                    self._host, self._port, ssl=context, limit=READ_BYTES
                )
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=self.url, error=error) from error
        except ssl.SSLError as error:
            raise SSLError(endpoint_url=self.url, error=error) from error
        except OSError as error:
            raise EndpointConnectionError(endpoint_url=self.url, error=error) from error
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return _Connection(reader, writer)


def _head(method: str, target: str, headers: Headers) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if not all(line.isascii() and line.isprintable() for line in lines):
        # In credentials, for example, which the message must not quote.
        raise HTTPClientError(error="a header has a character that cannot be sent")
    return "\r\n".join((*lines, "\r\n")).encode()


class HttpResponse:
    """A response as it arrives.

    Attributes:
        status: its status code.
        headers: by their names in lower case.
    """

    def __init__(self, client: HttpClient) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._client = client
        self._connection: _Connection | None = None

    async def begin(self, request: bytes, connection: _Connection) -> None:
        """Send the request and wait for the head of the response."""
        self._connection = connection
        connection.writer.write(request)
        connection.http.send(_STAND_IN)
        connection.http.send(h11.EndOfMessage())
        async with self._within(self._client.read_timeout_s):
            event = await self._next_event(connection)
            while isinstance(event, h11.InformationalResponse):
                event = await self._next_event(connection)
        if not isinstance(event, h11.Response):
            raise self._closed(None)
        self.status = event.status_code
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            botocore.exceptions.ReadTimeoutError, botocore.exceptions.ConnectionClosedError: as `send`.
        """
        pieces: list[bytes] = []
        try:
            while True:
                async with self._within(self._client.read_timeout_s):
                    piece = await self.readany()
                if not piece:
                    return b"".join(pieces)
                pieces.append(piece)
        finally:
            self.close()

    async def readany(self) -> bytes:
        """All that has arrived of the body, at least one byte; nothing at its end. Without a time limit.

        Raises:
            botocore.exceptions.ConnectionClosedError: it is incomplete.
        """
        connection = self._connection
        if connection is None:
            return b""
        pieces: list[bytes] = []
        event = await self._next_event(connection)
        if self._connection is None:  # closed meanwhile
            raise self._closed(None)
        while isinstance(event, h11.Data):
            pieces.append(event.data)
            event = self._parsed(connection)
        if isinstance(event, h11.EndOfMessage):
            self._connection = None
            self._client.take_back(connection)
        return b"".join(pieces)

    def close(self) -> None:
        """End the connection, unless the response was read to its end. A read that waits then fails."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
            self._client.take_back(connection)

    async def _next_event(self, connection: _Connection) -> object:
        """Wait for the next event."""
        while (event := self._parsed(connection)) is h11.NEED_DATA:
            try:
                data = await connection.reader.read(READ_BYTES)
            except OSError as error:
                raise self._closed(error) from error
            self._feed(connection, data)
        return event

    def _parsed(self, connection: _Connection) -> object:
        """The next event of what has arrived, if it is complete."""
        try:
            return connection.http.next_event()
        except h11.RemoteProtocolError as error:
            raise self._closed(error) from error

    def _feed(self, connection: _Connection, data: bytes) -> None:
        try:
            connection.http.receive_data(data)
        except RuntimeError as error:  # data after the end of the connection
            raise self._closed(error) from error

    def _closed(self, error: Exception | None) -> ConnectionClosedError:
        return ConnectionClosedError(endpoint_url=self._client.url, error=error)

    def _within(self, seconds: float) -> _ReadTimeout:
        return _ReadTimeout(seconds, self._client.url)


class _ReadTimeout:
    """Raises `ReadTimeoutError` after some seconds of waiting."""

    def __init__(self, seconds: float, url: str) -> None:
        self._limit = asyncio.timeout(seconds)
        self._url = url

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(self, *failure: object) -> None:
        try:
            await self._limit.__aexit__(*failure)  # type: ignore[arg-type]
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=self._url, error=error) from error


class _Connection:
    """One connection; used by one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.CLIENT)
        self.idle_since = 0.0

    @property
    def is_reusable(self) -> bool:
        """Whether the last response is complete, and the server keeps the connection."""
        http = self.http
        return (
            http.our_state is h11.DONE
            and http.their_state is h11.DONE
            and not http.trailing_data[0]
            and not self._has_unread
            and not self.writer.is_closing()
        )

    @property
    def is_open(self) -> bool:
        """Whether an idle connection can be used: nothing has arrived on it, not even its end.

        The event loop may not have noticed: a function's process is stopped between two invocations.
        """
        if self.writer.is_closing() or self.reader.at_eof() or self._has_unread:
            return False
        sock: socket.socket = self.writer.get_extra_info("socket")
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return not poll.poll(0)

    @property
    def _has_unread(self) -> bool:
        """Whether bytes have arrived that no request asked for: they would be read as the next response."""
        return bool(self.reader._buffer)  # type: ignore[attr-defined]  # noqa: SLF001 (asyncio has no other way)

    def abort(self) -> None:
        """Close it at once, without waiting."""
        self.writer.transport.abort()

    async def aclose(self) -> None:
        """Close it."""
        self.abort()
        # The transport closes its socket in the loop's next iteration.
        await asyncio.sleep(0)
