"""The function behind a Function URL: one request in, one streamed response or a named ending out.

An invocation ends in one of these ways, and its caller always learns which:

====================== =================================================== ==========================
ending                 where it is raised                                  what the HTTP client receives
====================== =================================================== ==========================
done                   the body ends                                       a complete response
`Throttled`            `Invoker.invoke`                                    429
`FunctionFailed`       `Invoker.invoke`: no response had begun             502
`InvocationTimedOut`   `Invoker.invoke`: no response had begun             502
`ResponseBrokenOff`    iterating the body: bytes had already been sent     a response that is cut off
====================== =================================================== ==========================

The invoker logs the function's failure once, with all details; the app that called it neither logs it again
nor reveals it to the client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec


class InvocationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One invocation, as the Lambda service receives it.

    Attributes:
        payload: the event, JSON in UTF-8, at most `limits.MAX_REQUEST_PAYLOAD_BYTES`.
        request_id: the invocation's id, a UUID; the event's `requestContext.requestId` is the same.
        trace_id: an X-Ray header value, `Root=1-...`.
        buffered: whether the caller reads the response in one piece, so that the service limits it to
            `limits.MAX_BUFFERED_RESPONSE_BYTES`.
        client_context: a JSON object in ASCII from a caller of the Invoke API, or empty.
        on_log: called once by the emulator's environments when the invocation is over, with the end of its
            log; it is not called for an invocation that was throttled.
    """

    payload: bytes
    request_id: str
    trace_id: str
    buffered: bool = False
    client_context: str = ""
    on_log: Callable[[bytes], None] | None = None


class ResponseBody(Protocol):
    """The raw bytes of one response, in chunks; an async generator satisfies it."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return itself: a body is read once."""
        ...

    async def __anext__(self) -> bytes:
        """Return the next chunk, never an empty one, as soon as it is available.

        Raises:
            StopAsyncIteration: the function ended its response.
            ResponseBrokenOff: the response will never be complete.
        """
        ...

    async def aclose(self) -> None:
        """Abandon the response: further bytes are discarded; the function continues to run."""
        ...


class InvocationResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A response that has begun: its first byte has arrived, or its end, if it is empty.

    Attributes:
        content_type: the content type of the function's response, `application/octet-stream` by default;
            `application/vnd.awslambda.http-integration-response` announces a prelude in the body.
        body: the raw bytes, prelude included. The next chunk is requested only when the last one has been
            sent, so an invoker that does not read ahead gets backpressure. The app reads the body to its
            end, with or without a client, and then closes it.
    """

    content_type: str
    body: ResponseBody


class Invoker(Protocol):
    """Runs functions; implemented by the emulator's execution environments and in process."""

    async def invoke(self, request: InvocationRequest) -> InvocationResponse:
        """Start an invocation and wait until its response begins.

        Cancelling the call abandons the response, as closing the body does; it does not stop an invocation
        that has been started.

        Raises:
            Throttled: no capacity is available, and nothing was started.
            FunctionFailed: the function, or its environment, failed before the first byte of a response.
            InvocationTimedOut: the function timed out before the first byte of a response.
        """
        ...


class InvocationEnding(Exception):
    """Base of the endings of an invocation without a complete response."""


class Throttled(InvocationEnding):
    """Raised when no execution environment is free and no further one may be started."""


class InvocationFailed(InvocationEnding):
    """Base of the endings that have an error type and a message, both for logs only.

    Attributes:
        error_type: what the runtime reported (`ValueError`, `Runtime.ExitError`, `Sandbox.Timedout`).
        error_message: its message; may quote user data.
        report: the runtime's own report, a JSON object; empty if it sent none.
    """

    def __init__(self, error_type: str, error_message: str, report: bytes = b"") -> None:
        super().__init__(f"{error_type}: {error_message}")
        self.error_type = error_type
        self.error_message = error_message
        self.report = report


class FunctionFailed(InvocationFailed):
    """Raised when the function, or its environment, failed before the first byte of a response."""


class InvocationTimedOut(InvocationFailed):
    """Raised when the function timed out before the first byte of a response."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(TIMEOUT_ERROR_TYPE, timeout_message(timeout_s))


class ResponseBrokenOff(InvocationFailed):
    """Raised by a body that was cut off: the function failed, exited or timed out in mid-response."""


TIMEOUT_ERROR_TYPE = "Sandbox.Timedout"


def timeout_message(timeout_s: float) -> str:
    """Return the message that Lambda logs for a timeout."""
    return f"Task timed out after {timeout_s:.2f} seconds"
