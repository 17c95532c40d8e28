"""Response streaming for Python on AWS Lambda, and a Function URL emulator for any runtime.

These names are the whole public API. The emulator is a program: `python -m lambda_streaming.emulator`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_streaming.prelude import ResponseMetadata
from lambda_streaming.response_stream import (
    ContentTypeInPrelude,
    HttpResponseStream,
    ResponseAlreadyStarted,
    ResponseBroken,
    ResponseStream,
    ResponseTransport,
    StreamingError,
    StreamState,
    WriteAfterEnd,
)
from lambda_streaming.streaming import (
    LambdaContext,
    invoke_streaming,
    is_streaming,
    streamify_response,
)

if TYPE_CHECKING:
    from lambda_streaming.function_url.event import FunctionUrlEvent
    from lambda_streaming.function_url.in_process import asgi

__all__ = [
    "ContentTypeInPrelude",
    "FunctionUrlEvent",
    "HttpResponseStream",
    "LambdaContext",
    "ResponseAlreadyStarted",
    "ResponseBroken",
    "ResponseMetadata",
    "ResponseStream",
    "ResponseTransport",
    "StreamState",
    "StreamingError",
    "WriteAfterEnd",
    "asgi",
    "invoke_streaming",
    "is_streaming",
    "streamify_response",
]


def __getattr__(name: str) -> object:
    # The cold start of a function that only streams must not pay for importing the ASGI side.
    match name:
        case "FunctionUrlEvent":
            from lambda_streaming.function_url.event import FunctionUrlEvent

            return FunctionUrlEvent
        case "asgi":
            from lambda_streaming.function_url.in_process import asgi

            return asgi
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
