"""How a response that has begun reports its failure to Lambda: two trailers after its last chunk.

Source: Lambda developer guide, "Building a custom runtime", section "Implementing response streaming". No
maximum is documented; Lambda's own emulator reads trailers into a buffer of 4 KiB and treats a longer block
as a truncated response, so we stay below that.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec

ERROR_TYPE_TRAILER: Final = "Lambda-Runtime-Function-Error-Type"
ERROR_BODY_TRAILER: Final = "Lambda-Runtime-Function-Error-Body"

MAX_TRAILERS_BYTES: Final = 4000
_MAX_TYPE_CHARACTERS: Final = 256
_MAX_ID_CHARACTERS: Final = 128
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
    """Return the trailers, in total under `MAX_TRAILERS_BYTES`.

    What does not fit is cut: first the stack trace, outermost frames before inner ones, then the end
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
    frames = _innermost(error.stack_trace)
    while len(encoded := _encode(msgspec.structs.replace(error, stack_trace=frames))) > _MAX_BODY_BYTES:
        if not frames:
            return _encode_cut(error)
        del frames[0]
    return encoded


def _innermost(frames: list[str]) -> list[str]:
    """The innermost frames that can fit at one byte a character, so that deep recursion is not encoded."""
    room = _MAX_BODY_BYTES
    kept = 0
    for frame in reversed(frames):
        room -= len(frame)
        if room < 0:
            break
        kept += 1
    return frames[len(frames) - kept :]


def _encode_cut(error: FunctionError) -> bytes:
    # Bounded so that both fit at 6 bytes a character, the longest JSON escape.
    error_type, request_id = error.error_type[:_MAX_TYPE_CHARACTERS], error.request_id[:_MAX_ID_CHARACTERS]
    message = error.error_message
    kept = min(len(message), _MAX_BODY_BYTES)
    while True:
        cut = message if kept == len(message) else f"{message[:kept]}..."
        encoded = _encode(FunctionError(error_message=cut, error_type=error_type, request_id=request_id))
        if len(encoded) <= _MAX_BODY_BYTES:
            return encoded
        kept = kept * 3 // 4


def _encode(error: FunctionError) -> bytes:
    # A lone surrogate in an exception's text cannot be encoded as UTF-8.
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
