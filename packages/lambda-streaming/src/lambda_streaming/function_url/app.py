"""A Function URL as an ASGI application in front of an `Invoker`.

One exchange is one request, its invocation and its response. It runs in a task that the app keeps, because it
outlives the client: when the client disconnects, the function is not notified, and its response is read to
the end and discarded, as on Lambda (developer guide, "Response streaming for Lambda functions").

A response that fails after its first byte is sent without its last chunk. ASGI has no message for that;
returning without completing the response makes servers close the connection (uvicorn logs one line, no
traceback).
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

from lambda_streaming.function_url import policy
from lambda_streaming.function_url.cors import CorsConfiguration, is_preflight
from lambda_streaming.function_url.exchange import (
    AsgiMessage,
    Client,
    HttpExchange,
    InvokeMode,
    Receive,
    RunningExchanges,
    Send,
)
from lambda_streaming.function_url.front_door import FrontDoor, FunctionUrl
from lambda_streaming.function_url.http_to_event import (
    HttpRequest,
    quoted_path,
    raw_path_of,
    trace_id_of,
)
from lambda_streaming.function_url.invoker import Invoker
from lambda_streaming.function_url.limits import MAX_REQUEST_PAYLOAD_BYTES, ResponseLimits
from lambda_streaming.function_url.refusals import Refused
from lambda_streaming.function_url.response import HeaderLine, ResponseHead


class BodyTooLarge(Exception):
    """Raised for a request's body over its size limit."""


class FunctionUrlApp:
    """Turns HTTP requests into invocations and their responses back into HTTP, as a Function URL does.

    Args:
        invoker: runs the function; the app does not close it.
        cors: the URL's CORS configuration; None lets OPTIONS requests reach the function.
        invoke_mode: `RESPONSE_STREAM` or `BUFFERED`.
        limits: for responses; by default Lambda's maximum size, without a bandwidth limit.
        url_id: the URL's id, `apiId` in events.
        front_door: another service to stand in for, instead of a Function URL.
        drain_timeout_s: how long shutdown waits for running invocations to drain.
        on_start: awaited when a server starts the app, for example to start what the function needs.
        on_close: awaited last when the app closes, for example to close an invoker that it owns.
    """

    def __init__(
        self,
        invoker: Invoker,
        *,
        cors: CorsConfiguration | None = None,
        invoke_mode: InvokeMode = InvokeMode.RESPONSE_STREAM,
        limits: ResponseLimits | None = None,
        url_id: str = "local",
        front_door: FrontDoor | None = None,
        drain_timeout_s: float = 30.0,
        on_start: Callable[[], Awaitable[None]] | None = None,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._front_door = FunctionUrl(url_id) if front_door is None else front_door
        self._exchange = HttpExchange(
            invoker=invoker,
            front_door=self._front_door,
            invoke_mode=invoke_mode,
            limits=limits if limits is not None else ResponseLimits(),
        )
        self._cors = cors
        self._drain_timeout_s = drain_timeout_s
        self._on_start = on_start
        self._on_close = on_close
        self._running = RunningExchanges()

    async def __call__(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection; WebSockets are refused, as Function URLs do not support them."""
        match scope["type"]:
            case "http":
                await self._serve(http_request(scope), receive, send)
            case "lifespan":
                await self._live(receive, send)
            case "websocket":
                await receive()
                await send({"type": "websocket.close"})
            case other:
                raise ValueError(f"a Function URL does not serve {other!r} connections")

    async def aclose(self) -> None:
        """Drain running invocations, for at most `drain_timeout_s`; the lifespan's shutdown does this."""
        await self._running.drain(self._drain_timeout_s)
        if self._on_close is not None:
            await self._on_close()

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    if self._on_start is not None:
                        await self._on_start()
                except Exception as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    raise
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(self, request: HttpRequest, receive: Receive, send: Send) -> None:
        request_id = str(uuid.uuid4())
        trace_id = trace_id_of(request)
        client = Client(send, request.method, (*self._cors_headers(request), *_ids(request_id, trace_id)))
        try:
            self._front_door.admit(request)
            if self._cors is not None and is_preflight(request):
                await client.respond(ResponseHead(status=policy.PREFLIGHT_STATUS, headers=()), b"")
                return
            body = await read_body(request, receive)
            if body is None:
                return
            invocation = self._front_door.invocation_request(
                request,
                body,
                request_id=request_id,
                trace_id=trace_id,
                buffered=self._exchange.invoke_mode is InvokeMode.BUFFERED,
            )
        except BodyTooLarge:
            await client.refuse(self._front_door.refusals.request_too_large)
            return
        except Refused as refused:
            await client.refuse(refused.refusal)
            return
        await self._running.run(self._exchange.run(invocation, client), client, receive)

    def _cors_headers(self, request: HttpRequest) -> tuple[HeaderLine, ...]:
        return () if self._cors is None else self._cors.headers_for(request.header("origin"))


def http_request(scope: AsgiMessage) -> HttpRequest:
    """Return the head of the request that an ASGI scope describes."""
    raw_path: bytes | None = scope.get("raw_path")
    client, server = scope.get("client"), scope.get("server")
    return HttpRequest(
        method=scope["method"],
        raw_path=raw_path_of(quoted_path(scope["path"]) if raw_path is None else raw_path.decode("latin-1")),
        raw_query_string=scope["query_string"].decode("latin-1"),
        headers=tuple(
            (name.decode("latin-1").lower(), _header_text(value)) for name, value in scope["headers"]
        ),
        scheme=scope.get("scheme", "http"),
        http_version=scope["http_version"],
        client_host=client[0] if client else "",
        server_port=server[1] if server else None,
    )


def _header_text(value: bytes) -> str:
    try:
        return value.decode(policy.HEADER_ENCODING)
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def read_body(
    request: HttpRequest, receive: Receive, *, max_bytes: int = MAX_REQUEST_PAYLOAD_BYTES
) -> bytes | None:
    """Return a request's whole body, or None if the client disconnected before its end.

    A client that sends its whole request before it reads the response would see a reset connection instead
    of a 413, so a body up to `policy.MAX_DISCARDED_BYTES` is read to its end and discarded first.

    Raises:
        BodyTooLarge: the body alone exceeds `max_bytes`.
    """
    declared = request.header("content-length") or ""
    declared_bytes = int(declared) if declared.isdecimal() else 0
    asks_first = (request.header("expect") or "").lower() == "100-continue"
    if declared_bytes > (max_bytes if asks_first else policy.MAX_DISCARDED_BYTES):
        raise BodyTooLarge
    body = bytearray()
    received_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        received_bytes += len(part)
        if received_bytes <= max_bytes:
            body += part
        elif received_bytes > policy.MAX_DISCARDED_BYTES:
            raise BodyTooLarge
        if not message.get("more_body", False):
            break
    if received_bytes > max_bytes:
        raise BodyTooLarge
    return bytes(body)


def _ids(request_id: str, trace_id: str) -> tuple[HeaderLine, ...]:
    return ("x-amzn-requestid", request_id), ("x-amzn-trace-id", trace_id)
