"""The Lambda Runtime API as data: calls, states, responses. No I/O.

A runtime asks for an event (`next`), posts a response or an error, and asks again. `TRANSITIONS` lists the
allowed calls of each state; all others get a 403. Sources: "Using the Lambda runtime API" and "Building a
custom runtime" in the Lambda developer guide; bodies and states of error responses as in
aws/aws-lambda-runtime-interface-emulator (RIE), `internal/lambda/rapi`.

                      init/error                            error
      INITIALIZING ----------------> FAILED      INVOKED ------------> RESPONDED
       |    |                          ^          |  ^  |                |   ^
       |    | restore/next             |     next |  |  | response       |   | end of the response
       |    v                          |          +--+  v                |   |
       |   RESTORING ------------------+               RESPONDING -------|---+
       |    |   restore/error, init/error                                |
       | next | next                                                     | next
       +----+----------------------------> READY <-----------------------+
                                             |
                                             +--- an event is delivered ---> INVOKED
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

import msgspec

RUNTIME_VERSION: Final = "2018-06-01"
EXTENSIONS_VERSION: Final = "2020-01-01"
TELEMETRY_VERSION: Final = "2022-07-01"
LOGS_VERSION: Final = "2020-08-15"

MAX_BUFFERED_RESULT_BYTES: Final = 6 * 1024 * 1024 + 100
"""6 MiB and 100 bytes, as in RIE."""

MAX_ERROR_BYTES: Final = 1024 * 1024
"""The part of an error report that is read; the rest is discarded."""

ERROR_TYPE_HEADER: Final = "lambda-runtime-function-error-type"
ERROR_BODY_HEADER: Final = "lambda-runtime-function-error-body"
RESPONSE_MODE_HEADER: Final = "lambda-runtime-function-response-mode"
INVOCATION_ID_HEADER: Final = "lambda-runtime-invocation-id"
DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"


class Call(StrEnum):
    """The calls of a runtime or an extension."""

    NEXT = "next"
    RESPONSE = "response"
    ERROR = "error"
    INIT_ERROR = "init/error"
    RESTORE_NEXT = "restore/next"
    RESTORE_ERROR = "restore/error"
    PING = "ping"
    EXTENSION_REGISTER = "extension/register"
    EXTENSION_NEXT = "extension/event/next"
    EXTENSION_INIT_ERROR = "extension/init/error"
    EXTENSION_EXIT_ERROR = "extension/exit/error"
    SUBSCRIBE_TELEMETRY = "telemetry"
    SUBSCRIBE_LOGS = "logs"


class RuntimeState(StrEnum):
    """The state of a runtime; the values are RIE's names, which appear in its error messages."""

    INITIALIZING = "RuntimeStarted"
    RESTORING = "RuntimeRestoring"
    READY = "RuntimeReady"
    INVOKED = "RuntimeRunning"
    RESPONDING = "RuntimeInvocationResponse"
    RESPONDED = "RuntimeResponseSent"
    FAILED = "RuntimeInitError"


TRANSITIONS: Final[Mapping[tuple[RuntimeState, Call], RuntimeState]] = {
    (RuntimeState.INITIALIZING, Call.NEXT): RuntimeState.READY,
    (RuntimeState.INITIALIZING, Call.INIT_ERROR): RuntimeState.FAILED,
    (RuntimeState.INITIALIZING, Call.RESTORE_NEXT): RuntimeState.RESTORING,
    (RuntimeState.RESTORING, Call.NEXT): RuntimeState.READY,
    (RuntimeState.RESTORING, Call.INIT_ERROR): RuntimeState.FAILED,
    (RuntimeState.RESTORING, Call.RESTORE_ERROR): RuntimeState.FAILED,
    # A runtime that lost its connection asks again; while it is connected, other connections are refused.
    (RuntimeState.READY, Call.NEXT): RuntimeState.READY,
    # Likewise, a runtime that lost the response to `next` receives the same event again.
    (RuntimeState.INVOKED, Call.NEXT): RuntimeState.INVOKED,
    (RuntimeState.INVOKED, Call.RESPONSE): RuntimeState.RESPONDING,
    (RuntimeState.INVOKED, Call.ERROR): RuntimeState.RESPONDED,
    (RuntimeState.RESPONDED, Call.NEXT): RuntimeState.READY,
}


class ApiResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP response of the Runtime API, complete except for its Content-Length."""

    status: int
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    body: bytes = b""


ACCEPTED: Final = ApiResponse(status=202, body=b'{"status":"OK"}\n')
"""The response to every accepted POST. Its body must not be empty: the .NET client decodes it."""


def not_supported(api: str) -> ApiResponse:
    """Return the response to a subscription to an API that is not emulated, `Telemetry` or `Logs`.

    As in RIE it is a 202, so that extensions start although they will receive nothing.
    """
    body = {"errorMessage": f"{api} API is not supported", "errorType": f"{api}.NotSupported"}
    return ApiResponse(status=202, body=msgspec.json.encode(body) + b"\n")


RESTORED: Final = ApiResponse(status=200)
PONG: Final = ApiResponse(status=200, headers=(("Content-Type", "text/plain"),), body=b"pong")


class RuntimeApiError(Exception):
    """Base of the errors of a call.

    Attributes:
        status: the HTTP status of the response.
        error_type: `errorType` in its body.
    """

    status: int = 500
    error_type: str = "InternalServerError"

    def response(self) -> ApiResponse:
        """Return the error response in RIE's JSON format."""
        body = {"errorMessage": str(self), "errorType": self.error_type}
        return ApiResponse(status=self.status, body=msgspec.json.encode(body) + b"\n")


class UnknownCall(RuntimeApiError):
    """Raised for a method and path that the API does not have."""

    status = 404
    error_type = "NotFound"

    def __init__(self, method: str, target: str) -> None:
        super().__init__(f"The Runtime API has no {method} {target}")


class InvalidRequestId(RuntimeApiError):
    """Raised for a result of an invocation other than the running one."""

    status = 400
    error_type = "InvalidRequestID"

    def __init__(self) -> None:
        super().__init__("Invalid request ID")


class InvocationExpired(RuntimeApiError):
    """Raised for a result of an invocation that has timed out while others went on."""

    status = 410
    error_type = "InvokeTimeout"

    def __init__(self) -> None:
        super().__init__("Invoke timeout")


class InvalidResponseMode(RuntimeApiError):
    """Raised for a response mode other than `streaming`."""

    status = 400
    error_type = "InvalidFunctionResponseMode"

    def __init__(self) -> None:
        super().__init__("Invalid function response mode")


class TruncatedRequest(RuntimeApiError):
    """Raised when the body of a call is cut off."""

    status = 400
    error_type = "TruncatedHTTPRequest"

    def __init__(self) -> None:
        super().__init__("HTTP request detected as truncated")


class InvalidStateTransition(RuntimeApiError):
    """Raised for a call that the runtime's state does not allow."""

    status = 403
    error_type = "InvalidStateTransition"

    def __init__(self, state: RuntimeState, call: str) -> None:
        super().__init__(
            f"State transition from {state} to {call} failed for runtime. "
            "Error: State transition is not allowed"
        )


class ResultTooLarge(RuntimeApiError):
    """Raised when a result is larger than the invoke mode allows."""

    status = 413
    error_type = "RequestEntityTooLarge"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"Exceeded maximum allowed payload size ({max_bytes} bytes).")


class ExtensionRefused(RuntimeApiError):
    """Raised for an extension's call without a name or with an unknown identifier."""

    status = 403

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class RuntimeCall(msgspec.Struct, frozen=True):
    """A call and its invocation, if any."""

    call: Call
    request_id: str = ""


_CALLS: Final[Mapping[tuple[str, str], Call]] = {
    ("GET", f"/{RUNTIME_VERSION}/runtime/invocation/next"): Call.NEXT,
    ("POST", f"/{RUNTIME_VERSION}/runtime/init/error"): Call.INIT_ERROR,
    ("GET", f"/{RUNTIME_VERSION}/runtime/restore/next"): Call.RESTORE_NEXT,
    ("POST", f"/{RUNTIME_VERSION}/runtime/restore/error"): Call.RESTORE_ERROR,
    ("GET", "/ping"): Call.PING,
    ("GET", f"/{RUNTIME_VERSION}/ping"): Call.PING,
    ("POST", f"/{EXTENSIONS_VERSION}/extension/register"): Call.EXTENSION_REGISTER,
    ("GET", f"/{EXTENSIONS_VERSION}/extension/event/next"): Call.EXTENSION_NEXT,
    ("POST", f"/{EXTENSIONS_VERSION}/extension/init/error"): Call.EXTENSION_INIT_ERROR,
    ("POST", f"/{EXTENSIONS_VERSION}/extension/exit/error"): Call.EXTENSION_EXIT_ERROR,
    ("PUT", f"/{TELEMETRY_VERSION}/telemetry"): Call.SUBSCRIBE_TELEMETRY,
    ("PUT", f"/{LOGS_VERSION}/logs"): Call.SUBSCRIBE_LOGS,
}
_RESULT = re.compile(rf"/{RUNTIME_VERSION}/runtime/invocation/([^/?]+)/(response|error)")


def parse_call(method: str, target: str) -> RuntimeCall:
    """Return the call of a request line.

    Raises:
        UnknownCall: the API has no such path or method.
    """
    path = target.partition("?")[0]
    call = _CALLS.get((method, path))
    if call is not None:
        return RuntimeCall(call)
    result = _RESULT.fullmatch(path)
    if result is not None and method == "POST":
        return RuntimeCall(Call(result[2]), unquote(result[1]))
    raise UnknownCall(method, path)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The event in one response to `next`.

    Attributes:
        payload: JSON in UTF-8.
        request_id: the same on a retry.
        invocation_id: unique to this attempt.
        deadline_ms: when the invocation times out, in milliseconds since the epoch.
        function_arn: of the invoked function.
        trace_id: an X-Ray header value; empty if not traced.
        client_context: a JSON object in ASCII, or empty.
    """

    payload: bytes
    request_id: str
    invocation_id: str
    deadline_ms: int
    function_arn: str
    trace_id: str = ""
    client_context: str = ""

    def response(self) -> ApiResponse:
        """Return the response to `next`.

        The Content-Type matters (awslambdaric passes bytes to the handler for any other, and crashes without
        one), and no optional header is ever empty (the Rust runtime would parse it as JSON).
        """
        headers = [
            ("Content-Type", "application/json"),
            ("Lambda-Runtime-Aws-Request-Id", self.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(self.deadline_ms)),
            ("Lambda-Runtime-Invoked-Function-Arn", self.function_arn),
            ("Lambda-Runtime-Invocation-Id", self.invocation_id),
        ]
        if self.trace_id:
            headers.append(("Lambda-Runtime-Trace-Id", self.trace_id))
        if self.client_context:
            headers.append(("Lambda-Runtime-Client-Context", self.client_context))
        return ApiResponse(status=200, headers=tuple(headers), body=self.payload)


class ErrorReport(msgspec.Struct, frozen=True, kw_only=True):
    """An error as a runtime reports it, in a body or in trailers.

    Attributes:
        error_type: a class name or `Category.Reason`.
        error_message: for humans; may be empty.
        report: the JSON object that it sent, or empty if it sent something else.
    """

    error_type: str
    error_message: str
    report: bytes = b""

    @classmethod
    def from_body(cls, body: bytes, header_type: str | None) -> ErrorReport:
        """Read a report; runtimes send the type in the header, in the body, or in both."""
        report = body
        try:
            reported = msgspec.json.decode(body, type=_ReportedError)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            reported = _ReportedError(error_message=body.decode(errors="replace").strip())
            report = b""
        return cls(
            error_type=reported.error_type or header_type or "Runtime.Unknown",
            error_message=reported.error_message or "",
            report=report,
        )

    @classmethod
    def from_trailers(cls, trailers: Mapping[str, str]) -> ErrorReport | None:
        """Read the report in the trailers of a streamed response, if there is one.

        A body that is not base64 is ignored; the type is kept (as in RIE).
        """
        error_type = trailers.get(ERROR_TYPE_HEADER)
        error_body = trailers.get(ERROR_BODY_HEADER)
        if error_type is None and error_body is None:
            return None
        report = cls.from_body(_base64_decoded(error_body or ""), error_type)
        return msgspec.structs.replace(report, error_type=error_type or report.error_type)


class _ReportedError(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    error_type: str | None = None
    error_message: str | None = None


def _base64_decoded(text: str) -> bytes:
    import base64
    import binascii

    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


class Headers:
    """Header lines or trailers of one request, looked up by lower-case name."""

    def __init__(self, lines: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, list[str]] = {}
        self.size_bytes = 0
        for name, value in lines:
            self._values.setdefault(name.decode("ascii").lower(), []).append(value.decode("latin-1"))
            self.size_bytes += len(name) + len(value) + len(b": \r\n")

    def first(self, name: str) -> str | None:
        """Return the first value of that name."""
        values = self._values.get(name)
        return values[0] if values else None

    def items_of_list(self, name: str) -> frozenset[str]:
        """Return the comma-separated items of all lines of that name, in lower case."""
        lines = self._values.get(name, ())
        return frozenset(item.strip().lower() for line in lines for item in line.split(",") if item.strip())

    def only(self, names: Iterable[str]) -> dict[str, str]:
        """Return the first values of the given names."""
        return {name: self._values[name][0] for name in names if name in self._values}

    def names(self) -> frozenset[str]:
        """Return all names."""
        return frozenset(self._values)


def check_response_mode(headers: Headers) -> None:
    """Refuse an invalid response mode. The header may be absent: Go's client streams without it.

    Raises:
        InvalidResponseMode: the header is present and not exactly `streaming`.
    """
    mode = headers.first(RESPONSE_MODE_HEADER)
    if mode is not None and mode != "streaming":
        raise InvalidResponseMode


class RuntimeStateMachine:
    """The state of one runtime, and its current event."""

    def __init__(self) -> None:
        self.state = RuntimeState.INITIALIZING
        self.event: Event | None = None

    def called(self, call: RuntimeCall, *, invocation_id: str | None = None) -> RuntimeState:
        """Make the transition of a call and return the new state.

        Args:
            call: the runtime's call.
            invocation_id: the id that it echoed; older clients echo none.

        Raises:
            InvalidRequestId: the call is about an invocation other than the running one.
            InvalidStateTransition: the call is not allowed now.
        """
        if call.call in (Call.RESPONSE, Call.ERROR):
            self._check_ids(call.request_id, invocation_id)
        to = TRANSITIONS.get((self.state, call.call))
        if to is None:
            raise InvalidStateTransition(self.state, call.call)
        self.state = to
        if to is RuntimeState.READY:
            self.event = None
        return to

    def delivered(self, event: Event) -> None:
        """Record that a waiting runtime receives an event.

        Raises:
            RuntimeError: the runtime is not waiting.
        """
        if self.state is not RuntimeState.READY:
            raise RuntimeError(f"an event for a runtime in the state {self.state.name}")
        self.state = RuntimeState.INVOKED
        self.event = event

    def responded(self) -> None:
        """Record that the response being read has ended, in whatever way."""
        if self.state is RuntimeState.RESPONDING:
            self.state = RuntimeState.RESPONDED

    def expired(self) -> None:
        """Record that the invocation has timed out: the runtime may ask for another event."""
        self.state = RuntimeState.RESPONDED
        self.event = None

    def _check_ids(self, request_id: str, invocation_id: str | None) -> None:
        event = self.event
        if event is None or request_id != event.request_id:
            raise InvalidRequestId
        if invocation_id is not None and invocation_id != event.invocation_id:
            raise InvalidRequestId
