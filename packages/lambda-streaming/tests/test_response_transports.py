"""Runs the transport contract against each response transport and its real peer."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11
import pytest

from contracts.response_transport import (
    ExchangeFactory,
    Received,
    ResponseTransportContract,
    StreamedResponseTransportContract,
)
from lambda_streaming import ResponseTransport
from lambda_streaming.buffered_response import BufferedResponse
from lambda_streaming.function_url.in_process import _HandlerRun
from lambda_streaming.function_url.invoker import FunctionFailed, InvocationRequest, ResponseBrokenOff
from lambda_streaming.prelude import PRELUDE_CONTENT_TYPE, encode_prelude
from lambda_streaming.runtime_api_connection import RuntimeApiConnection
from lambda_streaming.runtime_api_response import RuntimeApiResponse


class _RuntimeApiExchange:
    """The runtime's transport, connected to a Runtime API over a real socket."""

    def __init__(self, transport: RuntimeApiResponse, posts: asyncio.Queue[_Post]) -> None:
        self.transport = transport
        self._posts = posts

    async def break_off(self) -> None:
        await self.transport.release()

    async def received(self) -> Received:
        return await (await self._posts.get()).read()


class _Post:
    """A connection opened by the runtime, read only on demand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> Received:
        http = h11.Connection(h11.SERVER)
        content_type, body = "", bytearray()
        try:
            while True:
                match http.next_event():
                    case h11.NEED_DATA:
                        http.receive_data(await self._reader.read(65_536))
                    case h11.Request(headers=headers):
                        content_type = dict(headers)[b"content-type"].decode()
                    case h11.Data(data=data):
                        body += data
                    case h11.EndOfMessage(headers=trailers):
                        answer = h11.Response(status_code=202, headers=[("Content-Length", "0")])
                        self._writer.write(
                            (http.send(answer) or b"") + (http.send(h11.EndOfMessage()) or b"")
                        )
                        return Received(content_type, bytes(body), complete=not list(trailers))
        except (ConnectionResetError, h11.RemoteProtocolError):
            return Received(content_type, bytes(body), complete=False)


class TestRuntimeApiResponse(StreamedResponseTransportContract):
    @pytest.fixture
    def exchange_of(self) -> ExchangeFactory:
        return self._exchange

    @asynccontextmanager
    async def _exchange(self) -> AsyncIterator[_RuntimeApiExchange]:
        posts: asyncio.Queue[_Post] = asyncio.Queue()
        writers: list[asyncio.StreamWriter] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await posts.put(_Post(reader, writer))

        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        server = await asyncio.start_server(serve, sock=listening)
        host, port = listening.getsockname()
        connection = RuntimeApiConnection(f"{host}:{port}")
        transport = RuntimeApiResponse(connection, "r1", None, "test")
        await transport.connect()
        await transport._connected()  # a send that waits for the connection is no backpressure
        try:
            yield _RuntimeApiExchange(transport, posts)
        finally:
            await transport.release()
            await connection.drop()
            server.close()
            for writer in writers:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await server.wait_closed()


class _InProcessExchange:
    """The transport of `lambda_streaming.to_asgi`, and the reader that feeds the HTTP response."""

    def __init__(self) -> None:
        request = InvocationRequest(payload=b"{}", request_id="r1", trace_id="Root=1-a")
        self._invocation = _HandlerRun(request, "fn", 60.0)

    @property
    def transport(self) -> ResponseTransport:
        return self._invocation

    async def break_off(self) -> None:
        self._invocation.handover.fail(FunctionFailed("Test", "broken off"))

    async def received(self) -> Received:
        response = await self._invocation.handover.response()
        body = bytearray()
        try:
            async for chunk in response.body:
                body += chunk
        except ResponseBrokenOff:
            return Received(response.content_type, bytes(body), complete=False)
        finally:
            await response.body.aclose()
        return Received(response.content_type, bytes(body), complete=True)


class TestInProcess(StreamedResponseTransportContract):
    @pytest.fixture
    def exchange_of(self) -> ExchangeFactory:
        return self._exchange

    @asynccontextmanager
    async def _exchange(self) -> AsyncIterator[_InProcessExchange]:
        yield _InProcessExchange()


class _BufferedExchange:
    """The buffer, and how a proxy integration interprets its result."""

    def __init__(self) -> None:
        self.transport = _Closing()

    async def break_off(self) -> None:
        raise NotImplementedError("a failed handler's buffer is discarded and cannot be observed")

    async def received(self) -> Received:
        await self.transport.closed.wait()
        result = self.transport.as_proxy_response({})
        body, headers = result["body"], result["headers"]
        assert isinstance(body, str)
        assert isinstance(headers, dict)
        payload = base64.b64decode(body) if result["isBase64Encoded"] else body.encode()
        if "content-type" in headers:
            return Received(headers["content-type"], payload, complete=True)
        prelude = encode_prelude({"statusCode": result["statusCode"], "headers": headers})
        return Received(PRELUDE_CONTENT_TYPE, prelude + payload, complete=True)


class _Closing(BufferedResponse):
    """A buffer that signals when its handler is done."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = asyncio.Event()

    async def close(self, last: bytes = b"") -> None:
        await super().close(last)
        self.closed.set()


class TestBufferedResponse(ResponseTransportContract):
    @pytest.fixture
    def exchange_of(self) -> ExchangeFactory:
        return self._exchange

    @asynccontextmanager
    async def _exchange(self) -> AsyncIterator[_BufferedExchange]:
        yield _BufferedExchange()
