"""What stands behind a Function URL: one request in, one streamed response or a named ending out.

An invocation ends in one of these ways, and whoever asked for it always learns which:

====================== =================================================== ========================
how it ended           where it is raised                                  what the HTTP client sees
====================== =================================================== ========================
done                   the body ends                                       a complete response
`Throttled`            `Invoker.invoke`                                    429
`FunctionFailed`       `Invoker.invoke`: nothing of a response existed     502
`InvocationTimedOut`   `Invoker.invoke`: nothing of a response existed     502
`ResponseBrokenOff`    iterating the body: bytes had already been sent     a response that breaks off
====================== =================================================== ========================

The invoker writes the function's failure into its log, once, with all it knows; the app that called it
does not log it again and tells the client nothing of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec


class InvocationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation as the Lambda service would start it.

    Attributes:
        payload: the event, JSON in UTF-8, at most `limits.MAX_REQUEST_PAYLOAD_BYTES`.
        request_id: the invocation's id, a UUID; the event's `requestContext.requestId` is the same.
        trace_id: an X-Ray header value, `Root=1-...`.
    """

    payload: bytes
    request_id: str
    trace_id: str


class ResponseBody(Protocol):
    """The raw bytes of one response, in chunks; an async generator is one."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return itself: a body is read once."""
        ...

    async def __anext__(self) -> bytes:
        """Return the next chunk, as soon as it is there and never an empty one.

        Raises:
            StopAsyncIteration: the function ended its response.
            ResponseBrokenOff: the response will never be complete.
        """
        ...

    async def aclose(self) -> None:
        """Abandon the response: bytes that still come are thrown away; the function runs on."""
        ...


class InvocationResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response that has begun: its first byte is there, or its clean and empty end.

    Attributes:
        content_type: what the function posted its response as, `application/octet-stream` by default;
            `application/vnd.awslambda.http-integration-response` announces a prelude in the body.
        body: the raw bytes, prelude included. The next chunk is asked for only when the last one has gone
            out, so an invoker that reads nothing ahead has backpressure. It is read to its end, client or
            no client, and then closed.
    """

    content_type: str
    body: ResponseBody


class Invoker(Protocol):
    """Runs functions; implemented by the emulator's execution environments and in process."""

    async def invoke(self, request: InvocationRequest) -> InvocationResponse:
        """Start an invocation and wait until its response begins.

        Cancelling the call abandons the response as closing the body would; an invocation that has been
        started is not stopped by it.

        Raises:
            Throttled: no capacity is free, and nothing was started.
            FunctionFailed: the function, or its environment, failed before the first byte of a response.
            InvocationTimedOut: the time was up before the first byte of a response.
        """
        ...


class InvocationEnding(Exception):
    """Base of the ways in which an invocation ends without a complete response."""


class Throttled(InvocationEnding):
    """Raised when no execution environment is free and no other may be started."""


class InvocationFailed(InvocationEnding):
    """Base of the endings that have an error type and a message, both for logs only.

    Attributes:
        error_type: what the runtime reported (`ValueError`, `Runtime.ExitError`, `Sandbox.Timedout`).
        error_message: its message; may quote user data.
    """

    def __init__(self, error_type: str, error_message: str) -> None:
        super().__init__(f"{error_type}: {error_message}")
        self.error_type = error_type
        self.error_message = error_message


class FunctionFailed(InvocationFailed):
    """Raised when the function, or its environment, failed before the first byte of a response."""


class InvocationTimedOut(InvocationFailed):
    """Raised when the function's time was up before the first byte of a response."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(TIMEOUT_ERROR_TYPE, timeout_message(timeout_s))


class ResponseBrokenOff(InvocationFailed):
    """Raised by a body that was cut off: the function failed, vanished or ran out of time in mid-response."""


TIMEOUT_ERROR_TYPE = "Sandbox.Timedout"


def timeout_message(timeout_s: float) -> str:
    """Return Lambda's own words for a timeout, as they stand in its log."""
    return f"Task timed out after {timeout_s:.2f} seconds"
