"""Response streaming for Python on AWS Lambda, and a Function URL emulator for any runtime.

These names are the whole public API. The emulator is a program: `python -m lambda_streaming.emulator`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambda_streaming.handler_kinds import ResultAfterStart
from lambda_streaming.invocation_tasks import process_long
from lambda_streaming.lifespan import lifespan_state
from lambda_streaming.prelude import ResponseMetadata
from lambda_streaming.response_mode import ResponseMode
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
    from lambda_streaming.asgi_app import LifespanMode, from_asgi
    from lambda_streaming.event_sources import UnsupportedEvent
    from lambda_streaming.function_url.event import FunctionUrlEvent
    from lambda_streaming.function_url.in_process import asgi, to_asgi
    from lambda_streaming.threaded_handler import BlockingResponseStream

# The cold start of a function that only streams must not pay for importing the ASGI side.
_LAZY = {
    "BlockingResponseStream": "threaded_handler",
    "FunctionUrlEvent": "function_url.event",
    "LifespanMode": "asgi_app",
    "UnsupportedEvent": "event_sources",
    "asgi": "function_url.in_process",
    "from_asgi": "asgi_app",
    "to_asgi": "function_url.in_process",
}

__all__ = [
    "BlockingResponseStream",
    "ContentTypeInPrelude",
    "FunctionUrlEvent",
    "HttpResponseStream",
    "LambdaContext",
    "LifespanMode",
    "ResponseAlreadyStarted",
    "ResponseBroken",
    "ResponseMetadata",
    "ResponseMode",
    "ResponseStream",
    "ResponseTransport",
    "ResultAfterStart",
    "StreamState",
    "StreamingError",
    "UnsupportedEvent",
    "WriteAfterEnd",
    "asgi",
    "from_asgi",
    "invoke_streaming",
    "is_streaming",
    "lifespan_state",
    "process_long",
    "streamify_response",
    "to_asgi",
]


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
