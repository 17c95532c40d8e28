"""A streaming handler's response in one piece, for callers that cannot stream.

That is the stock runtime, for example when `AWS_LAMBDA_EXEC_WRAPPER` was forgotten, or the service behind the
event: an HTTP API, a load balancer, or what `ResponseMode.BUFFERED` is set for.
"""

from __future__ import annotations

import base64
import functools
import logging
from typing import Any

import msgspec

from lambda_streaming.event_loop import invocation_loop
from lambda_streaming.event_sources import proxy_result
from lambda_streaming.prelude import (
    PRELUDE_CONTENT_TYPE,
    SET_COOKIE,
    PreludeParser,
    ResponseMetadata,
    response_metadata,
)
from lambda_streaming.response_stream import DEFAULT_CONTENT_TYPE, Invocation

logger = logging.getLogger("lambda_streaming")

WARNING = (
    "The response is not streamed: the runtime that started this function cannot stream. Set the "
    "environment variable AWS_LAMBDA_EXEC_WRAPPER to .../lambda_streaming/exec-wrapper, or start the "
    "function with 'python -m lambda_streaming'."
)

_warned = False


def run_buffered(invocation: Invocation, event: object, *, could_stream: bool) -> object:
    """Run an invocation to its end and return its response in the proxy format of the event's service.

    The body is text where its content type says so and it is UTF-8. A failure after the response was complete
    is logged.

    Args:
        invocation: the call of the handler.
        event: the handler's event.
        could_stream: whether the runtime can, so that the service is the reason.

    Raises:
        Exception: whatever the handler raises before that.
    """
    global _warned  # noqa: PLW0603 (once a process)
    response = BufferedResponse()
    try:
        invocation_loop.run(functools.partial(invocation, response))
    except Exception:
        if not response.is_complete:
            raise
        logger.exception("The handler failed after its response was complete")
    if not _warned and not could_stream and response.would_have_streamed:
        _warned = True
        logger.warning(WARNING)
    return response.as_proxy_response(event)


class BufferedResponse:
    """A transport that collects the response in memory."""

    def __init__(self) -> None:
        self._content_type = DEFAULT_CONTENT_TYPE
        self._body = bytearray()
        self._pieces = 0
        self.is_complete = False

    @property
    def would_have_streamed(self) -> bool:
        """Whether the body came in several pieces, so that buffering delays its first byte."""
        prelude = self._content_type == PRELUDE_CONTENT_TYPE
        return self._pieces - prelude > 1

    async def open(self, content_type: str) -> None:
        """Remember the response's content type."""
        self._content_type = content_type

    async def send(self, data: bytes) -> None:
        """Append a piece to the buffer."""
        self._pieces += 1
        self._body += data

    async def close(self, last: bytes = b"") -> None:
        """Append a last piece, if any, and note that the buffer holds the whole response."""
        if last:
            await self.send(last)
        self.is_complete = True

    def as_proxy_response(self, event: object) -> dict[str, Any]:
        """Return the response in the proxy format of the service that sent the event."""
        metadata = ResponseMetadata(headers={"content-type": self._content_type})
        body = bytes(self._body)
        if self._content_type == PRELUDE_CONTENT_TYPE:
            parser = PreludeParser()
            body = parser.feed(body)
            metadata = response_metadata(msgspec.json.decode(parser.prelude or b"{}", type=dict[str, object]))
        headers = _values(metadata)
        content_type = next(
            (values[0] for name, values in headers.items() if name.lower() == "content-type"),
            DEFAULT_CONTENT_TYPE,
        )
        text = _as_text(body, content_type)
        return proxy_result(
            event,
            status=metadata.status_code,
            headers=headers,
            cookies=metadata.cookies,
            body=base64.b64encode(body).decode() if text is None else text,
            is_base64=text is None,
        )


def _values(metadata: ResponseMetadata) -> dict[str, list[str]]:
    """The values of each header; the prelude has those of a list joined, too."""
    listed = {name.lower() for name in metadata.multi_value_headers}
    one = {name: [value] for name, value in metadata.headers.items() if name.lower() not in listed}
    return one | {
        name: values for name, values in metadata.multi_value_headers.items() if name.lower() != SET_COOKIE
    }


def _as_text(body: bytes, content_type: str) -> str | None:
    kind = content_type.partition(";")[0].strip().lower()
    if not kind.startswith("text/") and not kind.endswith(("json", "xml", "javascript")):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
