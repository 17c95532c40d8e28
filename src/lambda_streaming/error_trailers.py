"""How a response that has begun tells Lambda that it failed: two trailers behind its last chunk.

Source: Lambda developer guide, "Building a custom runtime", section "Implementing response streaming". No
maximum is documented; Lambda's own emulator reads trailers with a buffer of 4 KiB and takes a longer block
for a truncated response, so we stay below that.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec

ERROR_TYPE_TRAILER: Final = "Lambda-Runtime-Function-Error-Type"
ERROR_BODY_TRAILER: Final = "Lambda-Runtime-Function-Error-Body"

MAX_TRAILERS_BYTES: Final = 4000
_MAX_TYPE_CHARACTERS: Final = 256
_MAX_BODY_BYTES: Final = 2700  # as JSON; base64 makes 3,600 of it


class FunctionError(msgspec.Struct, frozen=True, rename="camel"):
    """An error as awslambdaric reports it.

    Attributes:
        error_message: the exception's text.
        error_type: the exception's class.
        request_id: of the invocation.
        stack_trace: formatted frames, outermost first.
    """

    error_message: str
    error_type: str
    request_id: str = ""
    stack_trace: list[str] = []


def error_trailers(error: FunctionError) -> list[tuple[str, str]]:
    """Return the trailers, together under `MAX_TRAILERS_BYTES`.

    What does not fit is left out: the stack trace first, outermost frames before inner ones, then the end
    of the message.
    """
    return [
        (ERROR_TYPE_TRAILER, _as_header(error.error_type)),
        (ERROR_BODY_TRAILER, base64.b64encode(_encode_to_fit(error)).decode()),
    ]


def _as_header(error_type: str) -> str:
    visible = "".join(c if c.isascii() and c.isprintable() and c != " " else "_" for c in error_type)
    return visible[:_MAX_TYPE_CHARACTERS] or "Unknown"


def _encode_to_fit(error: FunctionError) -> bytes:
    frames = list(error.stack_trace)
    while True:
        encoded = _encode(msgspec.structs.replace(error, stack_trace=frames))
        if len(encoded) <= _MAX_BODY_BYTES:
            return encoded
        if not frames:
            break
        del frames[0]
    kept = len(error.error_message)
    while len(encoded) > _MAX_BODY_BYTES:
        kept //= 2
        encoded = _encode(
            FunctionError(
                error_message=f"{error.error_message[:kept]}...",
                error_type=error.error_type[:_MAX_TYPE_CHARACTERS],
                request_id=error.request_id,
            )
        )
    return encoded


def _encode(error: FunctionError) -> bytes:
    # A lone surrogate in an exception's text has no UTF-8.
    return msgspec.json.encode(
        msgspec.structs.replace(
            error,
            error_message=_encodable(error.error_message),
            error_type=_encodable(error.error_type),
            stack_trace=[_encodable(frame) for frame in error.stack_trace],
        )
    )


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()
