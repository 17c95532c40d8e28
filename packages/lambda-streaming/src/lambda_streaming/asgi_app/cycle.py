"""One request and its response (ASGI's HTTP specification).

A response goes through these states; a message that is not in the table is an `AsgiProtocolError`:

=========  ====================  ===================
state      http.response.start   http.response.body
=========  ====================  ===================
REQUESTED  allowed               refused
STARTED    refused               allowed
COMPLETE   ignored               ignored
=========  ====================  ===================

The head is sent with the first body message, as the specification demands. After the last one the client has
the whole response, and the app may go on: the invocation ends when the app returns.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from lambda_streaming.asgi_app.protocol import AsgiApp, AsgiProtocolError, Message, Scope
from lambda_streaming.event_sources import ReceivedRequest
from lambda_streaming.prelude import SET_COOKIE, ResponseMetadata
from lambda_streaming.response_stream import HttpResponseStream, ResponseStream

logger = logging.getLogger("lambda_streaming")

_LEFT_TO_THE_SERVICE: Final = frozenset(
    # Hop by hop (RFC 9110, section 7.6.1); a Function URL would rename `content-length` to
    # `x-amzn-remapped-content-length`.
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class _State(Enum):
    REQUESTED = auto()
    STARTED = auto()
    COMPLETE = auto()


class RequestCycle:
    """Serves one request with an app.

    Args:
        request: the request.
        stream: its response.
    """

    def __init__(self, request: ReceivedRequest, stream: ResponseStream) -> None:
        self._body: bytes | None = request.body
        self._has_no_body = request.method == "HEAD"
        self._stream = stream
        self._state = _State.REQUESTED
        self._complete = asyncio.Event()

    async def run(self, app: AsgiApp, scope: Scope) -> None:
        """Call the app, and verify that it has completed the response.

        Raises:
            AsgiProtocolError: it returned before that, or broke the protocol.
            Exception: whatever the app raises. After a complete response that changes nothing for the client.
        """
        await app(scope, self._receive, self._send)
        if self._state is _State.REQUESTED:
            raise AsgiProtocolError("The app returned without a response")
        if self._state is _State.STARTED:
            raise AsgiProtocolError("The app returned before its response was complete")

    async def _receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        # Lambda does not report that a client has disconnected.
        await self._complete.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case _ if self._state is _State.COMPLETE:
                logger.debug("The app sent a message after its response was complete, which is ignored")
            case "http.response.start" if self._state is _State.REQUESTED:
                HttpResponseStream.from_(
                    self._stream, response_head(message["status"], message.get("headers") or ())
                )
                self._state = _State.STARTED
            case "http.response.body" if self._state is _State.STARTED:
                await self._send_body(message.get("body") or b"", is_last=not message.get("more_body", False))
            case other:
                raise AsgiProtocolError(f"The app sent {other!r}, which is not allowed now")

    async def _send_body(self, body: bytes, *, is_last: bool) -> None:
        body = b"" if self._has_no_body else body
        if is_last:
            await self._stream.end(body)
            self._state = _State.COMPLETE
            self._complete.set()
        else:
            await self._stream.write(body)


def response_head(status: int, lines: Iterable[tuple[bytes, bytes]]) -> ResponseMetadata:
    """Return status, headers and cookies as Lambda takes them."""
    values: dict[str, list[str]] = {}
    for raw_name, raw_value in lines:
        name = bytes(raw_name).decode("latin-1").lower()
        if name not in _LEFT_TO_THE_SERVICE:
            values.setdefault(name, []).append(_text(bytes(raw_value)))
    cookies = values.pop(SET_COOKIE, [])
    return ResponseMetadata(
        status_code=status,
        headers={name: found[0] for name, found in values.items() if len(found) == 1},
        multi_value_headers={name: found for name, found in values.items() if len(found) > 1},
        cookies=cookies,
    )


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
