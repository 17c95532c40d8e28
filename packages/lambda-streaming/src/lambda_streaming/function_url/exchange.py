"""One request's invocation, and its response to the client.

The response is forwarded chunk by chunk while the client is connected, and always read to its end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from lambda_streaming.function_url import refusals
from lambda_streaming.function_url.front_door import FrontDoor
from lambda_streaming.function_url.invoker import (
    FunctionFailed,
    InvocationRequest,
    InvocationResponse,
    InvocationTimedOut,
    Invoker,
    ResponseBrokenOff,
    Throttled,
)
from lambda_streaming.function_url.limits import (
    MAX_BUFFERED_RESPONSE_BYTES,
    ResponseLimits,
    ResponseMeter,
    ResponseTooLarge,
)
from lambda_streaming.function_url.opening import Opening
from lambda_streaming.function_url.response import HeaderLine, MalformedResponse, ResponseHead, raw_headers

logger = logging.getLogger("lambda_streaming.function_url")

AsgiMessage: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[AsgiMessage]]
Send: TypeAlias = Callable[[AsgiMessage], Awaitable[None]]


class InvokeMode(StrEnum):
    """How a Function URL reads the function's responses."""

    RESPONSE_STREAM = "RESPONSE_STREAM"
    BUFFERED = "BUFFERED"


class Client:
    """The client's end of an exchange: sends the response for as long as the client is connected.

    Args:
        send: ASGI's `send`.
        method: the request's method: a response to HEAD has no body.
        extra_headers: added by the URL to every response.
    """

    def __init__(self, send: Send, method: str, extra_headers: tuple[HeaderLine, ...]) -> None:
        self._send = send
        self._method = method
        self._extra_headers = extra_headers
        self._sending: asyncio.Timeout | None = None
        self._body_allowed = True
        self.head_sent = False
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, head: ResponseHead, *, content_length: int | None = None) -> None:
        """Send the head; a response without a body is then complete."""
        self.head_sent = True
        self._body_allowed = head.allows_body(self._method)
        lines = [*head.headers, *self._extra_headers]
        # A response to HEAD has the length of the body that it omits (RFC 9110, section 8.6).
        if content_length is not None and head.allows_body("GET"):
            lines.append(("content-length", str(content_length)))
        await self._deliver(
            {"type": "http.response.start", "status": head.status, "headers": raw_headers(lines)}
        )
        if not self._body_allowed:
            await self._complete()

    async def write(self, chunk: bytes) -> None:
        """Send a part of the body; returns when the server can take more (backpressure)."""
        if self._body_allowed:
            await self._deliver({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        """Complete the response."""
        if self._body_allowed:
            await self._complete()

    async def refuse(self, refusal: refusals.Refusal) -> None:
        """Send a whole response in place of the function's; requires that no head has been sent."""
        lines = [("content-type", refusal.content_type)]
        if refusal.error_type is not None:
            lines.append(("x-amzn-errortype", refusal.error_type))
        head = ResponseHead(status=refusal.status, headers=tuple(lines))
        await self.respond(head, refusal.body)

    async def respond(self, head: ResponseHead, body: bytes) -> None:
        """Send a whole response at once."""
        await self.start(head, content_length=len(body))
        if body:
            await self.write(body)
        await self.end()

    def leave(self) -> None:
        """Stop sending: the client has disconnected, or the response is to be cut off."""
        if not self.finished.done():
            self.finished.set_result(None)
        if self._sending is not None:
            self._sending.reschedule(0.0)

    async def _complete(self) -> None:
        await self._deliver({"type": "http.response.body", "body": b"", "more_body": False})
        self.leave()

    async def _deliver(self, message: AsgiMessage) -> None:
        if self.finished.done():
            return
        try:
            # `leave` reschedules this timeout to now: a server whose `send` hangs after the client has
            # disconnected must not prevent the response from being read to its end.
            async with asyncio.timeout(None) as self._sending:
                await self._send(message)
        except OSError:  # what ASGI servers raise for a disconnected client; TimeoutError is a subclass
            self._sending = None
            self.leave()
        finally:
            self._sending = None


class RunningExchanges:
    """The exchanges that are running, each in a task of its own, because it outlives its client."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, exchange: Coroutine[Any, Any, None], client: Client, receive: Receive) -> None:
        """Start an exchange; returns when its response has been sent or its client has disconnected."""
        task = asyncio.create_task(exchange)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait((client.finished, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            client.leave()
            gone.cancel()

    async def drain(self, timeout_s: float) -> None:
        """Wait for the running exchanges, for at most `timeout_s`, and cancel the rest."""
        if not self._tasks:
            return
        logger.info("Waiting for %d running invocations", len(self._tasks))
        _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
        if late:
            logger.warning("Cancelled %d invocations that were still running", len(late))
            for exchange in late:
                exchange.cancel()
            await asyncio.wait(late)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class HttpExchange(msgspec.Struct, frozen=True, kw_only=True):
    """Invokes the function for one client and sends its response.

    Attributes:
        invoker: runs the function.
        front_door: the service that invokes it.
        invoke_mode: how its response is read.
        limits: for its response.
    """

    invoker: Invoker
    front_door: FrontDoor
    invoke_mode: InvokeMode
    limits: ResponseLimits

    async def run(self, invocation: InvocationRequest, client: Client) -> None:
        """Run the invocation to its end, with or without a client; never raises for a function's failure."""
        own = self.front_door.refusals
        try:
            try:
                response = await self.invoker.invoke(invocation)
            except Throttled:
                await client.refuse(own.throttled)
                return
            try:
                await self._respond(response, invocation, client)
            finally:
                await response.body.aclose()
        except InvocationTimedOut:
            await client.refuse(own.timed_out)
        except (FunctionFailed, ResponseBrokenOff):
            await self._break_off(client, own.function_failed)
        except Exception:
            logger.exception("%s The exchange failed", invocation.request_id)
            await self._break_off(client, own.function_failed)
        finally:
            client.leave()

    async def _respond(
        self, response: InvocationResponse, invocation: InvocationRequest, client: Client
    ) -> None:
        try:
            if self.invoke_mode is InvokeMode.BUFFERED:
                await self._collect(response, client)
            else:
                await self._forward(response, client)
        except (MalformedResponse, ResponseTooLarge) as error:
            logger.error("%s The response was refused: %s", invocation.request_id, error)  # noqa: TRY400
            await self._break_off(client, self.front_door.refusals.malformed_response)
            async for _ in response.body:
                pass

    async def _forward(self, response: InvocationResponse, client: Client) -> None:
        opening = self.front_door.opening(response.content_type)
        meter = ResponseMeter(self.limits, time.monotonic)
        async for chunk in response.body:
            for piece, delay_s in meter.pieces(chunk):
                if delay_s > 0:
                    await asyncio.sleep(delay_s)
                await self._pass_on(piece, opening, client)
        if not client.head_sent:
            await client.start(opening.head_at_end())
        await client.end()

    async def _pass_on(self, piece: bytes, opening: Opening, client: Client) -> None:
        if not client.head_sent:
            piece = opening.feed(piece)
            if opening.head is None:
                return
            await client.start(opening.head)
        if piece:
            await client.write(piece)

    async def _collect(self, response: InvocationResponse, client: Client) -> None:
        collected = bytearray()
        async for chunk in response.body:
            collected += chunk
            if len(collected) > MAX_BUFFERED_RESPONSE_BYTES:
                raise ResponseTooLarge(MAX_BUFFERED_RESPONSE_BYTES)
        await client.respond(*self.front_door.whole_response(response.content_type, bytes(collected)))

    async def _break_off(self, client: Client, refusal: refusals.Refusal) -> None:
        """Send an error response if no response has begun; otherwise leave it visibly incomplete."""
        if client.head_sent:
            client.leave()
        else:
            await client.refuse(refusal)
