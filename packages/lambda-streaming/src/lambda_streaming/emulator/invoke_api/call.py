"""One call of the Invoke API: what a request asks for, and the errors that the API responds with itself."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from lambda_streaming.function_url.http_to_event import HttpRequest
from lambda_streaming.function_url.limits import MAX_ASYNCHRONOUS_PAYLOAD_BYTES, MAX_REQUEST_PAYLOAD_BYTES

_OWN_PATHS = re.compile(r"/(?:2014-11-13|2015-03-31|2021-11-15)/functions/.+")
_INVOKE = re.compile(r"/2015-03-31/functions/[^/]+/invocations/?")
_INVOKE_STREAMING = re.compile(r"/2021-11-15/functions/[^/]+/response-streaming-invocations/?")

_NO_EVENT: Final = b"{}"
"""The event of a call without a payload."""

_NOT_SUPPORTED: Final = ("x-amz-tenant-id", "x-amz-durable-execution-name")

MAX_CLIENT_CONTEXT_BYTES: Final = 3583
"""In base64, as the API reference has it."""


class InvocationType(StrEnum):
    """What the caller waits for: the response, the acceptance of the event, or nothing to run."""

    REQUEST_RESPONSE = "RequestResponse"
    EVENT = "Event"
    DRY_RUN = "DryRun"


class InvokeCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call.

    Attributes:
        invocation_type: of the call; never EVENT if it is streaming.
        streaming: whether it is `InvokeWithResponseStream`.
        client_context: a JSON object in ASCII, or empty; Lambda drops that of an EVENT.
        wants_log: whether the caller asks for the end of the log.
    """

    invocation_type: InvocationType
    streaming: bool
    client_context: str
    wants_log: bool

    @property
    def max_payload_bytes(self) -> int:
        """The largest event."""
        if self.invocation_type is InvocationType.EVENT:
            return MAX_ASYNCHRONOUS_PAYLOAD_BYTES
        return MAX_REQUEST_PAYLOAD_BYTES


class InvokeApiError(Exception):
    """Base of the API's own errors; the function is not invoked.

    Attributes:
        status: the HTTP status.
        error_type: the name of the error in AWS's SDKs.
    """

    status = 400
    error_type = "InvalidParameterValueException"

    @property
    def body(self) -> bytes:
        """The response's body."""
        return msgspec.json.encode({"Type": "User", "message": str(self)})


class InvalidParameter(InvokeApiError):
    """Raised for a header with a value that the API, or this emulator, does not have."""


class InvalidPayload(InvokeApiError):
    """Raised for a payload that is not JSON."""

    error_type = "InvalidRequestContentException"


class PayloadTooLarge(InvokeApiError):
    """Raised for a payload that is larger than the call allows."""

    status = 413
    error_type = "RequestTooLargeException"

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"Request must be smaller than {max_bytes} bytes for the InvokeFunction operation")


class UnknownOperation(InvokeApiError):
    """Raised for another operation of Lambda's API."""

    status = 404
    error_type = "UnknownOperationException"

    def __init__(self) -> None:
        super().__init__("The emulator has Invoke and InvokeWithResponseStream only")


class CallerRefused(InvokeApiError):
    """Raised for a caller that may not invoke the function with an event of its own."""

    status = 403
    error_type = "AccessDeniedException"


class TooManyRequests(InvokeApiError):
    """Raised when no execution environment is free."""

    status = 429
    error_type = "TooManyRequestsException"

    def __init__(self) -> None:
        super().__init__("Rate Exceeded.")


class ServiceFailed(InvokeApiError):
    """Raised for a fault of the emulator; the log has it."""

    status = 500
    error_type = "ServiceException"

    def __init__(self) -> None:
        super().__init__("The emulator failed; its log says why.")


def is_own_path(raw_path: str) -> bool:
    """Whether a path belongs to Lambda's API, and not to the function."""
    return _OWN_PATHS.fullmatch(raw_path) is not None


def call_of(request: HttpRequest) -> InvokeCall:
    """Return the call that a request makes. Any function name is accepted, an ARN or `function` too.

    Raises:
        InvokeApiError: the request is another one, or asks for something that is not emulated.
    """
    streaming = _INVOKE_STREAMING.fullmatch(request.raw_path) is not None
    if request.method != "POST" or not (streaming or _INVOKE.fullmatch(request.raw_path)):
        raise UnknownOperation
    for name in _NOT_SUPPORTED:
        if request.header(name) is not None:
            raise InvalidParameter(f"The emulator does not have what {name} asks for")
    log_type = request.header("x-amz-log-type") or "None"
    if log_type not in ("None", "Tail"):
        raise InvalidParameter(f"{log_type} is not a log type: None or Tail")
    invocation_type = _invocation_type(request, streaming=streaming)
    client_context = _client_context(request.header("x-amz-client-context") or "")
    return InvokeCall(
        invocation_type=invocation_type,
        streaming=streaming,
        client_context="" if invocation_type is InvocationType.EVENT else client_context,
        wants_log=log_type == "Tail",
    )


def event_of(payload: bytes) -> bytes:
    """Return the event of a payload, which must be JSON if there is one.

    Raises:
        InvalidPayload: it is not JSON in UTF-8.
    """
    if not payload:
        return _NO_EVENT
    try:
        msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidPayload(f"Could not parse request body into json: {error}") from error
    return payload


def _invocation_type(request: HttpRequest, *, streaming: bool) -> InvocationType:
    text = request.header("x-amz-invocation-type") or InvocationType.REQUEST_RESPONSE
    allowed = [each for each in InvocationType if not (streaming and each is InvocationType.EVENT)]
    if text not in allowed:
        raise InvalidParameter(f"{text} is not an invocation type of this call: {', '.join(allowed)}")
    return InvocationType(text)


def _client_context(encoded: str) -> str:
    """Return the client context as it fits in a header."""
    if not encoded:
        return ""
    if len(encoded) > MAX_CLIENT_CONTEXT_BYTES:
        raise InvalidParameter(f"Client context must be no longer than {MAX_CLIENT_CONTEXT_BYTES} bytes")
    try:
        context = json.loads(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise InvalidParameter("Client context must be a JSON object in base64") from error
    if not isinstance(context, Mapping):
        raise InvalidParameter("Client context must be a JSON object in base64")
    return json.dumps(context, separators=(",", ":"))
