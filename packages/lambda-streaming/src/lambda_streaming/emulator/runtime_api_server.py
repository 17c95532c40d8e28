"""The Runtime API of one execution environment, on a loopback port of its own.

The port identifies the environment: a runtime sends no identification. `admission` decides which requests are
accepted, `runtime_api` which calls are allowed in which state, and `connection` speaks HTTP; this module
carries out the calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Final, TypeGuard

import h11
import msgspec

from lambda_streaming.emulator import policy
from lambda_streaming.emulator.admission import (
    MAX_CONNECTIONS,
    AlreadyReceiving,
    AmbiguousRequest,
    ForeignRequest,
    check_framing,
    check_source,
)
from lambda_streaming.emulator.connection import Connection, ConnectionEnded
from lambda_streaming.emulator.invocation import RunningInvocation
from lambda_streaming.emulator.peer import PeerCheck
from lambda_streaming.emulator.runtime_api import (
    ACCEPTED,
    ERROR_BODY_HEADER,
    ERROR_TYPE_HEADER,
    INVOCATION_ID_HEADER,
    MAX_ERROR_BYTES,
    PONG,
    RESTORED,
    ApiResponse,
    Call,
    ErrorReport,
    Event,
    ExtensionRefused,
    Headers,
    InvalidResponseMode,
    ResultTooLarge,
    RuntimeApiError,
    RuntimeCall,
    RuntimeState,
    RuntimeStateMachine,
    TruncatedRequest,
    check_response_mode,
    not_supported,
    parse_call,
)
from lambda_streaming.function_url.invoker import FunctionFailed

logger = logging.getLogger("lambda_streaming.emulator")

HOST: Final = "127.0.0.1"
"""Runtimes expect `host:port`; Node's refuses anything with more than one colon, so no IPv6."""

LOST_CONNECTION_S: Final = 0.1
"""How long a second `next` waits for the first one's connection to end, in case it was lost."""

REPORT_WITHIN_S: Final = 2.0
"""How long a `next` waits for an error report that is sent at the same time: Node's client does not wait for
the response to its report."""

EXTENSION_NAME_HEADER: Final = "lambda-extension-name"
EXTENSION_ID_HEADER: Final = "lambda-extension-identifier"


class RuntimeApiServer:
    """Serves one runtime and its extensions. Start it, then start the environment's process.

    Args:
        name: the environment's name, for the log.
        function_name: sent to extensions.
        handler: sent to extensions.
        is_own: whether a connection comes from the environment's processes; checked once per connection.
    """

    def __init__(self, name: str, *, function_name: str, handler: str, is_own: PeerCheck) -> None:
        self._name = name
        self._is_own = is_own
        # One check at a time, so that a flood of foreign connections does not occupy the shared threads.
        self._checking = asyncio.Lock()
        self._function = {"functionName": function_name, "functionVersion": "$LATEST", "handler": handler}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._machine = RuntimeStateMachine()
        self._invocation: RunningInvocation | None = None
        self._extensions: set[str] = set()
        # Set while the runtime waits for an event; the future delivers it.
        self._waiting: asyncio.Future[Event] | None = None
        # The connection that last asked for an event.
        self._receiver: asyncio.Task[None] | None = None
        # Set once the runtime reports the result of its event.
        self._reported = asyncio.Event()
        self._ready = asyncio.Event()
        self.init_failure: asyncio.Future[ErrorReport] = asyncio.get_running_loop().create_future()

    @property
    def address(self) -> str:
        """The value of AWS_LAMBDA_RUNTIME_API."""
        host, port = self._listening_at
        return f"{host}:{port}"

    @property
    def _listening_at(self) -> tuple[str, int]:
        if self._server is None:
            raise RuntimeError("the Runtime API is not listening")
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    @property
    def state(self) -> RuntimeState:
        """The runtime's state."""
        return self._machine.state

    async def listen(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)

    async def ready(self) -> None:
        """Wait until the runtime waits for an event and none is pending."""
        await self._ready.wait()

    def deliver(self, event: Event, invocation: RunningInvocation) -> None:
        """Deliver the event to the waiting runtime.

        Raises:
            RuntimeError: the runtime is not waiting.
        """
        self._machine.delivered(event)
        self._reported.clear()
        self._invocation = invocation
        self._ready.clear()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(event)

    async def drained(self, timeout_s: float) -> None:
        """Wait until no connection is left, at most `timeout_s`, after the process has exited.

        What a runtime wrote before it died is still in the sockets and may complete a response.
        """
        if self._connections:
            await asyncio.wait(self._connections, timeout=timeout_s)

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(Connection(reader, writer)))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: Connection) -> None:
        try:
            with contextlib.suppress(ConnectionEnded):
                await self._admit(connection)
                while True:
                    await self._serve_one(connection)
        except asyncio.CancelledError:
            connection.abort()
            raise
        finally:
            await connection.close()

    async def _admit(self, connection: Connection) -> None:
        ends = connection.ends
        async with self._checking:
            is_own = await self._is_own(ends)
        if not is_own or not connection.is_open:
            refusal = ForeignRequest("this process is not one of them")
            logger.warning("[%s] refused %s:%d: %s", self._name, *ends.client, refusal)
            await connection.turn_away(refusal.response())
            raise ConnectionEnded

    async def _serve_one(self, connection: Connection) -> None:
        try:
            request = await connection.next_request()
        except h11.RemoteProtocolError as error:
            await connection.turn_away(TruncatedRequest().response())
            raise ConnectionEnded from error
        headers = Headers(request.headers)
        try:
            check_framing(request, headers)
            check_source(headers, self._listening_at)
            call = parse_call(request.method.decode("ascii"), request.target.decode("latin-1"))
            response = await self._handlers[call.call](self, call, headers, connection)
        except RuntimeApiError as error:
            logger.warning("[%s] refused %s %s: %s", self._name, *_request_line(request), error)
            if isinstance(error, AmbiguousRequest | ForeignRequest):
                await connection.turn_away(error.response())
                raise ConnectionEnded from error
            response = error.response()
        await connection.respond(response)
        await connection.discard_body()

    # --- the runtime's calls ---

    async def _next(self, call: RuntimeCall, _headers: Headers, connection: Connection) -> ApiResponse:
        await connection.discard_body()
        await self._check_receiver()
        self._machine.called(call)
        self._receiver = asyncio.current_task()
        event = self._machine.event
        if event is None:
            event = await self._wait_for_event(connection)
        return event.response()

    async def _check_receiver(self) -> None:
        """Refuse to deliver the event to this connection while another one receives it.

        Raises:
            AlreadyReceiving: another open connection waits for it or has received it.
        """
        while self._is_receiving(receiver := self._receiver):
            if self._waiting is not None:
                await asyncio.wait((receiver,), timeout=LOST_CONNECTION_S)
                is_free = receiver.done()
            else:
                is_free = await self._is_done_with_event(receiver)
            if not is_free:
                raise AlreadyReceiving

    async def _is_done_with_event(self, receiver: asyncio.Task[None]) -> bool:
        """Whether, within `REPORT_WITHIN_S`, the connection ended or the runtime reported its result."""
        reported = asyncio.ensure_future(self._reported.wait())
        try:
            done, _ = await asyncio.wait(
                (receiver, reported), timeout=REPORT_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            reported.cancel()
        return bool(done)

    def _is_receiving(self, receiver: asyncio.Task[None] | None) -> TypeGuard[asyncio.Task[None]]:
        """Whether another connection than the current one receives the event."""
        if receiver is None or receiver is asyncio.current_task() or receiver.done():
            return False
        return self._waiting is not None or self.state is RuntimeState.INVOKED

    async def _wait_for_event(self, connection: Connection) -> Event:
        waiting: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting = waiting
        self._invocation = None
        self._ready.set()
        closed = asyncio.ensure_future(connection.closed())
        try:
            await asyncio.wait((waiting, closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
            await asyncio.wait((closed,))
            self._waiting = None
        if not waiting.done():
            raise ConnectionEnded
        return waiting.result()

    async def _response(self, call: RuntimeCall, headers: Headers, connection: Connection) -> ApiResponse:
        self._machine.called(call, invocation_id=headers.first(INVOCATION_ID_HEADER))
        self._reported.set()
        invocation = self._invocation
        assert invocation is not None, "the table lets only a running one respond"  # noqa: S101
        try:
            check_response_mode(headers)
            invocation.begin(headers.first("content-type"))
            await self._read_response(invocation, headers, connection)
        except InvalidResponseMode as error:
            invocation.fail(FunctionFailed("Runtime.InvalidResponseModeHeader", str(error)))
            raise
        except TruncatedRequest as error:
            invocation.fail(FunctionFailed("Runtime.TruncatedResponse", str(error)))
            raise
        finally:
            if self._invocation is invocation:
                self._machine.responded()
        return ACCEPTED

    async def _read_response(
        self, invocation: RunningInvocation, headers: Headers, connection: Connection
    ) -> None:
        too_large: ResultTooLarge | None = None
        async with contextlib.aclosing(connection.body()) as body:
            async for chunk in body:
                if isinstance(chunk, Headers):
                    self._end_response(invocation, declared=headers, trailers=chunk)
                elif too_large is None:
                    try:
                        await invocation.write(chunk)
                    except ResultTooLarge as error:
                        too_large = error
        if too_large is not None:
            raise too_large

    def _end_response(self, invocation: RunningInvocation, *, declared: Headers, trailers: Headers) -> None:
        names = {ERROR_TYPE_HEADER, ERROR_BODY_HEADER}
        undeclared = (names & trailers.names()) - declared.items_of_list("trailer")
        if undeclared:
            logger.warning(
                "[%s] trailers that no Trailer header declares are lost on Lambda: %s",
                self._name,
                ", ".join(sorted(undeclared)),
            )
            if not policy.UNDECLARED_TRAILERS_COUNT:
                names -= undeclared
        if trailers.size_bytes > policy.MAX_TRAILER_BYTES:
            logger.warning(
                "[%s] the trailers have %d bytes; Lambda may not read more than %d",
                self._name,
                trailers.size_bytes,
                policy.MAX_TRAILER_BYTES,
            )
        report = ErrorReport.from_trailers(trailers.only(names))
        if report is None:
            invocation.complete()
        else:
            # Without any byte before it, too: this is how Node reports an error before the first byte.
            invocation.fail(FunctionFailed(report.error_type, report.error_message, report.report))

    async def _error(self, call: RuntimeCall, headers: Headers, connection: Connection) -> ApiResponse:
        self._machine.called(call, invocation_id=headers.first(INVOCATION_ID_HEADER))
        self._reported.set()
        invocation = self._invocation
        assert invocation is not None, "the table lets only a running one fail"  # noqa: S101
        try:
            report = await self._read_report(headers, connection)
        except TruncatedRequest as error:
            invocation.fail(FunctionFailed("Runtime.TruncatedResponse", str(error)))
            raise
        invocation.fail(FunctionFailed(report.error_type, report.error_message, report.report))
        return ACCEPTED

    async def _init_error(self, call: RuntimeCall, headers: Headers, connection: Connection) -> ApiResponse:
        report = await self._read_report(headers, connection)
        self._machine.called(call)
        if not self.init_failure.done():
            self.init_failure.set_result(report)
        return ACCEPTED

    async def _restore_next(
        self, call: RuntimeCall, _headers: Headers, _connection: Connection
    ) -> ApiResponse:
        self._machine.called(call)
        return RESTORED

    async def _ping(self, _call: RuntimeCall, _headers: Headers, _connection: Connection) -> ApiResponse:
        return PONG

    async def _read_report(self, headers: Headers, connection: Connection) -> ErrorReport:
        body = await connection.read_body(MAX_ERROR_BYTES)
        return ErrorReport.from_body(body, headers.first(ERROR_TYPE_HEADER))

    # --- extensions ---

    async def _register(self, _call: RuntimeCall, headers: Headers, connection: Connection) -> ApiResponse:
        name = headers.first(EXTENSION_NAME_HEADER)
        body = await connection.read_body(MAX_ERROR_BYTES)
        if not name:
            raise ExtensionRefused(
                "Extension.InvalidExtensionName", "The header Lambda-Extension-Name is missing"
            )
        if len(self._extensions) >= policy.MAX_EXTENSIONS:
            raise ExtensionRefused("Extension.TooManyExtensions", "Too many extensions are registered")
        with contextlib.suppress(msgspec.MsgspecError):
            events = msgspec.json.decode(body, type=_Registration).events
            if events:
                logger.warning(
                    "[%s] the extension %s registers for %s; the emulator sends no events to extensions",
                    self._name,
                    name,
                    ", ".join(events),
                )
        identifier = str(uuid.uuid4())
        self._extensions.add(identifier)
        return ApiResponse(
            status=200,
            headers=(("Content-Type", "application/json"), ("Lambda-Extension-Identifier", identifier)),
            body=msgspec.json.encode(self._function),
        )

    async def _extension_next(
        self, _call: RuntimeCall, headers: Headers, connection: Connection
    ) -> ApiResponse:
        identifier = headers.first(EXTENSION_ID_HEADER)
        if identifier is None:
            raise ExtensionRefused(
                "Extension.MissingExtensionIdentifier", "The header Lambda-Extension-Identifier is missing"
            )
        if identifier not in self._extensions:
            raise ExtensionRefused("Extension.UnknownExtensionIdentifier", "Unknown extension identifier")
        # Held open for as long as the extension lives: the Lambda Web Adapter exits when it closes.
        await connection.closed()
        raise ConnectionEnded

    async def _extension_error(
        self, call: RuntimeCall, headers: Headers, connection: Connection
    ) -> ApiResponse:
        report = await self._read_report(headers, connection)
        logger.warning(
            "[%s] an extension reported %s (%s: %s); on Lambda the environment would end",
            self._name,
            call.call,
            report.error_type,
            report.error_message,
        )
        return ACCEPTED

    async def _subscribe(self, call: RuntimeCall, _headers: Headers, connection: Connection) -> ApiResponse:
        await connection.discard_body()
        api = "Telemetry" if call.call is Call.SUBSCRIBE_TELEMETRY else "Logs"
        logger.warning("[%s] an extension subscribes to the %s API, which is not emulated", self._name, api)
        return not_supported(api)

    _handlers: Final[
        dict[Call, Callable[[RuntimeApiServer, RuntimeCall, Headers, Connection], Awaitable[ApiResponse]]]
    ] = {
        Call.NEXT: _next,
        Call.RESPONSE: _response,
        Call.ERROR: _error,
        Call.INIT_ERROR: _init_error,
        Call.RESTORE_NEXT: _restore_next,
        Call.RESTORE_ERROR: _init_error,
        Call.PING: _ping,
        Call.EXTENSION_REGISTER: _register,
        Call.EXTENSION_NEXT: _extension_next,
        Call.EXTENSION_INIT_ERROR: _extension_error,
        Call.EXTENSION_EXIT_ERROR: _extension_error,
        Call.SUBSCRIBE_TELEMETRY: _subscribe,
        Call.SUBSCRIBE_LOGS: _subscribe,
    }


class _Registration(msgspec.Struct, frozen=True):
    events: list[str] = []


def _request_line(request: h11.Request) -> tuple[str, str]:
    return request.method.decode("ascii"), request.target.decode("latin-1")
