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
    TooManyReceivers,
    check_framing,
    check_source,
)
from lambda_streaming.emulator.connection import Connection, ConnectionEnded, listen
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
    InvalidRequestId,
    InvalidResponseMode,
    InvocationExpired,
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


class _Slot:
    """Runs one invocation at a time. An ordinary environment has one, a Managed Instance several.

    Attributes:
        machine: its state, and its event.
        invocation: what its event belongs to.
        waiting: set while the runtime waits for an event; the future delivers it.
        receiver: the connection that last asked for an event.
        reported: set once the runtime reports the result of the event.
    """

    def __init__(self) -> None:
        self.machine = RuntimeStateMachine()
        self.invocation: RunningInvocation | None = None
        self.waiting: asyncio.Future[Event] | None = None
        self.receiver: asyncio.Task[None] | None = None
        self.reported = asyncio.Event()

    @property
    def is_waiting(self) -> bool:
        """Whether an event can be delivered to it now."""
        return self.waiting is not None and not self.waiting.done()

    @property
    def is_free(self) -> bool:
        """Whether another connection may take it to wait for an event."""
        return self.waiting is None and self.machine.state in _BETWEEN_EVENTS


_BETWEEN_EVENTS: Final = frozenset(
    {RuntimeState.INITIALIZING, RuntimeState.RESTORING, RuntimeState.READY, RuntimeState.RESPONDED}
)


class RuntimeApiServer:
    """Serves one runtime and its extensions. Start it, then start the environment's process.

    Args:
        name: the environment's name, for the log.
        function_name: sent to extensions.
        handler: sent to extensions.
        is_own: whether a connection comes from the environment's processes; checked once per connection.
        concurrency: how many invocations the runtime may run at once. With more than one, each `next` is
            independent of the others, as in RIE for Managed Instances.
    """

    def __init__(
        self, name: str, *, function_name: str, handler: str, is_own: PeerCheck, concurrency: int = 1
    ) -> None:
        self._name = name
        self._concurrency = concurrency
        self._is_own = is_own
        # One check at a time, so that a flood of foreign connections does not occupy the shared threads.
        self._checking = asyncio.Lock()
        self._function = {"functionName": function_name, "functionVersion": "$LATEST", "handler": handler}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._slots = [_Slot()]
        self._expired: set[str] = set()
        self._extensions: set[str] = set()
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
        """The runtime's state; that of its first invocation if it runs several at once."""
        return self._slots[0].machine.state

    async def listen(self) -> None:
        """Listen on a free port."""
        self._server = await listen(self._accept, HOST)

    async def ready(self) -> None:
        """Wait until the runtime waits for an event that has not been delivered."""
        await self._ready.wait()

    def deliver(self, event: Event, invocation: RunningInvocation) -> None:
        """Deliver the event to the waiting runtime.

        Raises:
            RuntimeError: the runtime is not waiting.
        """
        slot = next((each for each in self._slots if each.is_waiting), self._slots[0])
        slot.machine.delivered(event)
        slot.reported.clear()
        slot.invocation = invocation
        if slot.is_waiting and slot.waiting is not None:
            slot.waiting.set_result(event)
        if not any(each.is_waiting for each in self._slots):
            self._ready.clear()

    def expire(self, request_id: str) -> None:
        """Expect no result of an invocation any more: it has timed out, while others go on."""
        self._expired.add(request_id)
        for slot in self._slots:
            if slot.machine.event is not None and slot.machine.event.request_id == request_id:
                slot.machine.expired()

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
        # Each invocation may have two: one for events and errors, one for its response.
        if len(self._connections) >= MAX_CONNECTIONS + 2 * (self._concurrency - 1):
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
        slot = await self._slot_for_next()
        slot.machine.called(call)
        slot.receiver = asyncio.current_task()
        event = slot.machine.event
        if event is None:
            event = await self._wait_for_event(slot, connection)
        return event.response()

    async def _slot_for_next(self) -> _Slot:
        """Return where the connection that asks for an event gets it.

        Raises:
            AlreadyReceiving: another open connection waits for it or has received it.
            TooManyReceivers: as many as there may be invocations at once.
        """
        if self._concurrency == 1:
            await self._check_receiver(self._slots[0])
            return self._slots[0]
        free = next((slot for slot in self._slots if slot.is_free), None)
        if free is None:
            if len(self._slots) >= self._concurrency:
                raise TooManyReceivers(self._concurrency)
            free = _Slot()
            self._slots.append(free)
        return free

    async def _check_receiver(self, slot: _Slot) -> None:
        """Refuse to deliver the event to this connection while another one receives it.

        Raises:
            AlreadyReceiving: another open connection waits for it or has received it.
        """
        while self._is_receiving(receiver := slot.receiver, slot):
            if slot.waiting is not None:
                await asyncio.wait((receiver,), timeout=LOST_CONNECTION_S)
                is_free = receiver.done()
            else:
                is_free = await self._is_done_with_event(slot, receiver)
            if not is_free:
                raise AlreadyReceiving

    async def _is_done_with_event(self, slot: _Slot, receiver: asyncio.Task[None]) -> bool:
        """Whether, within `REPORT_WITHIN_S`, the connection ended or the runtime reported its result."""
        reported = asyncio.ensure_future(slot.reported.wait())
        try:
            done, _ = await asyncio.wait(
                (receiver, reported), timeout=REPORT_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            reported.cancel()
        return bool(done)

    def _is_receiving(
        self, receiver: asyncio.Task[None] | None, slot: _Slot
    ) -> TypeGuard[asyncio.Task[None]]:
        """Whether another connection than the current one receives the event."""
        if receiver is None or receiver is asyncio.current_task() or receiver.done():
            return False
        return slot.waiting is not None or slot.machine.state is RuntimeState.INVOKED

    async def _wait_for_event(self, slot: _Slot, connection: Connection) -> Event:
        waiting: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        slot.waiting = waiting
        slot.invocation = None
        self._ready.set()
        closed = asyncio.ensure_future(connection.closed())
        try:
            await asyncio.wait((waiting, closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
            await asyncio.wait((closed,))
            slot.waiting = None
        if not waiting.done():
            raise ConnectionEnded
        return waiting.result()

    def _called_about(self, call: RuntimeCall, headers: Headers) -> tuple[_Slot, RunningInvocation]:
        """Make the transition of a call that reports a result, and return what it belongs to.

        Raises:
            InvocationExpired: the invocation has timed out.
            InvalidRequestId: there is no such invocation.
            InvalidStateTransition: it has a result already.
        """
        slot = self._slots[0]
        if self._concurrency > 1:
            if call.request_id in self._expired:
                raise InvocationExpired
            events = ((each, each.machine.event) for each in self._slots)
            found = (each for each, event in events if event and event.request_id == call.request_id)
            if (running := next(found, None)) is None:
                raise InvalidRequestId
            slot = running
        slot.machine.called(call, invocation_id=headers.first(INVOCATION_ID_HEADER))
        slot.reported.set()
        assert slot.invocation is not None, "the table lets only a running one respond or fail"  # noqa: S101
        return slot, slot.invocation

    async def _response(self, call: RuntimeCall, headers: Headers, connection: Connection) -> ApiResponse:
        slot, invocation = self._called_about(call, headers)
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
            if slot.invocation is invocation:
                slot.machine.responded()
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
        _, invocation = self._called_about(call, headers)
        try:
            report = await self._read_report(headers, connection)
        except TruncatedRequest as error:
            invocation.fail(FunctionFailed("Runtime.TruncatedResponse", str(error)))
            raise
        invocation.fail(FunctionFailed(report.error_type, report.error_message, report.report))
        return ACCEPTED

    async def _init_error(self, call: RuntimeCall, headers: Headers, connection: Connection) -> ApiResponse:
        report = await self._read_report(headers, connection)
        self._slots[0].machine.called(call)
        if not self.init_failure.done():
            self.init_failure.set_result(report)
        return ACCEPTED

    async def _restore_next(
        self, call: RuntimeCall, _headers: Headers, _connection: Connection
    ) -> ApiResponse:
        self._slots[0].machine.called(call)
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
