"""The whole response of a streaming handler in one piece, for runtimes that cannot stream.

That is the case under the stock runtime, for example when `AWS_LAMBDA_EXEC_WRAPPER` was forgotten. Behind a
Function URL in BUFFERED mode or an API Gateway proxy integration, the response is then correct, only late.
"""

from __future__ import annotations

import base64
import functools
import logging

import msgspec

from lambda_streaming.event_loop import InvocationLoop
from lambda_streaming.prelude import PRELUDE_CONTENT_TYPE, PreludeParser, ResponseMetadata
from lambda_streaming.response_stream import DEFAULT_CONTENT_TYPE, Invocation

logger = logging.getLogger("lambda_streaming")

WARNING = (
    "The response is not streamed: the runtime that started this function cannot stream. Set the "
    "environment variable AWS_LAMBDA_EXEC_WRAPPER to .../lambda_streaming/exec-wrapper, or start the "
    "function with 'python -m lambda_streaming'."
)

_loop = InvocationLoop()
_warned = False


def run_buffered(invocation: Invocation) -> object:
    """Run an invocation to its end and return its response in the format of a proxy integration.

    Returns:
        `{"statusCode", "headers", "cookies", "body", "isBase64Encoded"}`. The body is text where its
        content type says so and it is UTF-8 (developer guide, "Invoking Lambda function URLs").

    Raises:
        Exception: whatever the handler raises.
    """
    global _warned  # noqa: PLW0603 (once a process)
    response = BufferedResponse()
    _loop.run(functools.partial(invocation, response))
    if not _warned and response.would_have_streamed:
        _warned = True
        logger.warning(WARNING)
    return response.as_proxy_response()


class BufferedResponse:
    """A transport that collects the response in memory."""

    def __init__(self) -> None:
        self._content_type = DEFAULT_CONTENT_TYPE
        self._body = bytearray()
        self._pieces = 0

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

    async def close(self) -> None:
        """Do nothing: the buffer already holds the whole response."""

    def as_proxy_response(self) -> dict[str, object]:
        """The response as an object that Function URLs and API Gateway understand."""
        metadata = ResponseMetadata(headers={"content-type": self._content_type})
        body = bytes(self._body)
        if self._content_type == PRELUDE_CONTENT_TYPE:
            parser = PreludeParser()
            body = parser.feed(body)
            metadata = msgspec.json.decode(parser.prelude or b"{}", type=ResponseMetadata)
        content_type = next(
            (value for name, value in metadata.headers.items() if name.lower() == "content-type"),
            DEFAULT_CONTENT_TYPE,
        )
        text = _as_text(body, content_type)
        return {
            "statusCode": metadata.status_code,
            "headers": metadata.headers,
            "cookies": metadata.cookies,
            "body": base64.b64encode(body).decode() if text is None else text,
            "isBase64Encoded": text is None,
        }


def _as_text(body: bytes, content_type: str) -> str | None:
    kind = content_type.partition(";")[0].strip().lower()
    if not kind.startswith("text/") and not kind.endswith(("json", "xml", "javascript")):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
