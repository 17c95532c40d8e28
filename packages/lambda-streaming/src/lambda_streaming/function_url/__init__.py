"""HTTP <-> payload format 2.0, and a Function URL as an ASGI app.

Names are imported lazily, so that a function that only reads events imports nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambda_streaming.function_url.app import FunctionUrlApp
    from lambda_streaming.function_url.cors import CorsConfiguration, InvalidCorsConfiguration
    from lambda_streaming.function_url.event import (
        FunctionUrlEvent,
        InvalidEvent,
        InvalidEventBody,
        NotAFunctionUrlEvent,
    )
    from lambda_streaming.function_url.exchange import InvokeMode
    from lambda_streaming.function_url.in_process import InProcessInvoker, asgi, to_asgi
    from lambda_streaming.function_url.invoker import (
        FunctionFailed,
        InvocationEnding,
        InvocationFailed,
        InvocationRequest,
        InvocationResponse,
        InvocationTimedOut,
        Invoker,
        ResponseBody,
        ResponseBrokenOff,
        Throttled,
    )
    from lambda_streaming.function_url.limits import Bandwidth, ResponseLimits

_MODULES = {
    "Bandwidth": "limits",
    "CorsConfiguration": "cors",
    "FunctionFailed": "invoker",
    "FunctionUrlApp": "app",
    "FunctionUrlEvent": "event",
    "InProcessInvoker": "in_process",
    "InvalidCorsConfiguration": "cors",
    "InvalidEvent": "event",
    "InvalidEventBody": "event",
    "InvocationEnding": "invoker",
    "InvocationFailed": "invoker",
    "InvocationRequest": "invoker",
    "InvocationResponse": "invoker",
    "InvocationTimedOut": "invoker",
    "InvokeMode": "exchange",
    "Invoker": "invoker",
    "NotAFunctionUrlEvent": "event",
    "ResponseBody": "invoker",
    "ResponseBrokenOff": "invoker",
    "ResponseLimits": "limits",
    "Throttled": "invoker",
    "asgi": "in_process",
    "to_asgi": "in_process",
}

__all__ = [
    "Bandwidth",
    "CorsConfiguration",
    "FunctionFailed",
    "FunctionUrlApp",
    "FunctionUrlEvent",
    "InProcessInvoker",
    "InvalidCorsConfiguration",
    "InvalidEvent",
    "InvalidEventBody",
    "InvocationEnding",
    "InvocationFailed",
    "InvocationRequest",
    "InvocationResponse",
    "InvocationTimedOut",
    "InvokeMode",
    "Invoker",
    "NotAFunctionUrlEvent",
    "ResponseBody",
    "ResponseBrokenOff",
    "ResponseLimits",
    "Throttled",
    "asgi",
    "to_asgi",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
