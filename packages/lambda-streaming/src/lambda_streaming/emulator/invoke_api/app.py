"""Serves the Invoke API on the Function URL's port, in front of it.

A Function URL writes the events itself and states who the client is, but a caller of `Invoke` sends any
event, one that forges a signed-in user too. On AWS that needs a permission. Here the caller must be a process
that `is_allowed`, and no web page.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import uuid
from typing import Final

import msgspec

from lambda_streaming.emulator.gate import App
from lambda_streaming.emulator.invoke_api import event_stream
from lambda_streaming.emulator.invoke_api.call import (
    CallerRefused,
    InvocationType,
    InvokeApiError,
    InvokeCall,
    PayloadTooLarge,
    ServiceFailed,
    TooManyRequests,
    call_of,
    event_of,
    is_own_path,
)
from lambda_streaming.emulator.peer import Ends, PeerCheck
from lambda_streaming.function_url.app import BodyTooLarge, http_request, read_body
from lambda_streaming.function_url.exchange import AsgiMessage, Client, Receive, RunningExchanges, Send
from lambda_streaming.function_url.http_to_event import HttpRequest, trace_id_of
from lambda_streaming.function_url.invoker import (
    InvocationFailed,
    InvocationRequest,
    Invoker,
    Throttled,
)
from lambda_streaming.function_url.response import HeaderLine, ResponseHead

logger = logging.getLogger("lambda_streaming.emulator")

MAX_WAITING_EVENTS: Final = 1000
"""Events of asynchronous invocations that wait or run; further ones get 429."""

FIRST_RETRY_S: Final = 0.1
LAST_RETRY_S: Final = 10.0
"""How long an event waits for a free environment before the next attempt: from the first to the last, doubled
each time. Lambda begins with a second."""

_VERSION: Final = ("x-amz-executed-version", "$LATEST")


class InvokeApi:
    """An ASGI middleware that serves calls of the Invoke API and passes on everything else.

    Args:
        app: the application behind it; its lifespan is that of the server.
        invoker: runs the function; not closed.
        is_allowed: whether the process at the other end of a connection may call; None allows all.
    """

    def __init__(self, app: App, invoker: Invoker, *, is_allowed: PeerCheck | None) -> None:
        self._app = app
        self._invoker = invoker
        self._is_allowed = is_allowed
        self._running = RunningExchanges()
        self._events: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            request = http_request(scope)
            if is_own_path(request.raw_path):
                await self._serve(request, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def aclose(self) -> None:
        """Drop the events that wait for an environment. Those that run are left to the invoker."""
        for task in self._events:
            task.cancel()
        if self._events:
            await asyncio.wait(self._events)

    async def _serve(self, request: HttpRequest, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        request_id = str(uuid.uuid4())
        client = Client(send, request.method, (("x-amzn-requestid", request_id),))
        try:
            await self._admit(request, scope)
            call = call_of(request)
            payload = await _payload(request, receive, call)
            if payload is None:
                return
            log = _Log() if call.wants_log else None
            invocation = InvocationRequest(
                payload=event_of(payload),
                request_id=request_id,
                trace_id=trace_id_of(request),
                buffered=not call.streaming,
                client_context=call.client_context,
                on_log=log.arrived if log is not None else None,
            )
            if call.invocation_type is InvocationType.DRY_RUN:
                await client.respond(_head(204, _VERSION), b"")
            elif call.invocation_type is InvocationType.EVENT:
                self._accept(invocation)
                await client.respond(_head(202), b"")
            else:
                await self._running.run(
                    self._exchange(invocation, client, log, streaming=call.streaming), client, receive
                )
        except InvokeApiError as error:
            await _refuse(client, error)

    async def _admit(self, request: HttpRequest, scope: AsgiMessage) -> None:
        if any(name == "origin" or name.startswith("sec-fetch-") for name, _ in request.headers):
            raise CallerRefused("Web pages may not invoke the function")
        if self._is_allowed is None:
            return
        client, server = scope.get("client"), scope.get("server")
        if not client or not server or not await self._is_allowed(Ends(tuple(client), tuple(server))):
            logger.warning("Refused an invocation: not a process of the user who started the emulator")
            raise CallerRefused("Only processes of the user who started the emulator may invoke the function")

    # --- asynchronous invocations ---

    def _accept(self, invocation: InvocationRequest) -> None:
        if len(self._events) >= MAX_WAITING_EVENTS:
            raise TooManyRequests
        task = asyncio.create_task(self._run_event(invocation))
        self._events.add(task)
        task.add_done_callback(self._events.discard)

    async def _run_event(self, invocation: InvocationRequest) -> None:
        """Run the function once; it is not retried after a failure, as Lambda would."""
        delay_s = FIRST_RETRY_S
        with contextlib.suppress(InvocationFailed):  # the invoker has logged it
            while True:
                try:
                    response = await self._invoker.invoke(invocation)
                    break
                except Throttled:
                    try:
                        await asyncio.sleep(delay_s)
                    except asyncio.CancelledError:
                        logger.warning(
                            "%s The event was dropped: the emulator stopped", invocation.request_id
                        )
                        raise
                    delay_s = min(2 * delay_s, LAST_RETRY_S)
            async with contextlib.aclosing(response.body):
                async for _ in response.body:
                    pass

    # --- synchronous ones ---

    async def _exchange(
        self, invocation: InvocationRequest, client: Client, log: _Log | None, *, streaming: bool
    ) -> None:
        try:
            await (self._stream if streaming else self._respond)(invocation, client, log)
        except Throttled:
            await _refuse(client, TooManyRequests())
        except Exception:
            logger.exception("%s The exchange failed", invocation.request_id)
            if not client.head_sent:
                await _refuse(client, ServiceFailed())
        finally:
            client.leave()

    async def _respond(self, invocation: InvocationRequest, client: Client, log: _Log | None) -> None:
        """Send the function's result, or its error, in one piece."""
        collected = bytearray()
        content_type = "application/json"
        more: tuple[HeaderLine, ...] = ()
        try:
            response = await self._invoker.invoke(invocation)
            content_type = response.content_type
            async with contextlib.aclosing(response.body):
                async for chunk in response.body:
                    collected += chunk
        except InvocationFailed as error:
            content_type, collected = "application/json", bytearray(_report(error, invocation))
            more = (("x-amz-function-error", "Unhandled"),)
        if log is not None:
            more += (("x-amz-log-result", await log.result()),)
        head = _head(200, ("content-type", content_type), _VERSION, *more)
        await client.respond(head, bytes(collected))

    async def _stream(self, invocation: InvocationRequest, client: Client, log: _Log | None) -> None:
        """Send the function's response as it comes; an error is in the last message."""
        head = _head(200, ("content-type", event_stream.CONTENT_TYPE), _VERSION)
        failure: InvocationFailed | None = None
        try:
            response = await self._invoker.invoke(invocation)
            await client.start(head)
            async with contextlib.aclosing(response.body):
                async for chunk in response.body:
                    await client.write(event_stream.payload_chunk(chunk))
        except InvocationFailed as error:
            if not client.head_sent:
                await client.start(head)
            failure = error
        last = event_stream.invoke_complete(
            error_code=None if failure is None else failure.error_type,
            error_details=None if failure is None else _report(failure, invocation).decode(errors="replace"),
            log_result=None if log is None else await log.result(),
        )
        await client.write(last)
        await client.end()


class _Log:
    """The end of an invocation's log, when the invocation is over."""

    def __init__(self) -> None:
        self._tail: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def arrived(self, tail: bytes) -> None:
        """Keep the end of the log, for `result`."""
        self._tail.set_result(tail)

    async def result(self) -> str:
        """Wait for the end of the log, and return it in base64, as the API does."""
        return base64.b64encode(await asyncio.shield(self._tail)).decode()


async def _payload(request: HttpRequest, receive: Receive, call: InvokeCall) -> bytes | None:
    try:
        return await read_body(request, receive, max_bytes=call.max_payload_bytes)
    except BodyTooLarge as error:
        raise PayloadTooLarge(call.max_payload_bytes) from error


def _report(failure: InvocationFailed, invocation: InvocationRequest) -> bytes:
    """Return the runtime's report of its error, or, where it could not send one, the service's."""
    if failure.report:
        return failure.report
    message = f"RequestId: {invocation.request_id} Error: {failure.error_message}"
    return msgspec.json.encode({"errorType": failure.error_type, "errorMessage": message})


def _head(status: int, *headers: HeaderLine) -> ResponseHead:
    return ResponseHead(status=status, headers=headers)


async def _refuse(client: Client, error: InvokeApiError) -> None:
    head = _head(error.status, ("content-type", "application/json"), ("x-amzn-errortype", error.error_type))
    await client.respond(head, error.body)
