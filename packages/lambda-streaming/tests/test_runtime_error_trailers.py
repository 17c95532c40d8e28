"""Error trailers fit the size limit and can be decoded, whatever the error."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lambda_streaming.error_trailers import MAX_TRAILERS_BYTES, FunctionError, error_trailers

_ANY_TEXT = st.text(max_size=200) | st.builds(str.__mul__, st.text(max_size=3), st.integers(0, 5000))


@given(
    message=_ANY_TEXT,
    error_type=_ANY_TEXT,
    request_id=_ANY_TEXT,
    frames=st.lists(_ANY_TEXT, max_size=6),
)
@example(message="\0" * 5000, error_type="\0" * 5000, request_id="\0" * 5000, frames=["\0" * 5000])
@example(message="\ud800", error_type="\ud800", request_id="", frames=["\ud800"])
def test_any_error_fits_and_can_be_read(
    message: str, error_type: str, request_id: str, frames: list[str]
) -> None:
    """Each is one line below 4,000 bytes: base64 of valid JSON with the message or its beginning."""
    trailers = error_trailers(FunctionError(message, error_type, request_id, frames))
    block = "".join(f"{name}: {value}\r\n" for name, value in trailers) + "\r\n"
    assert len(block.encode("ascii")) < MAX_TRAILERS_BYTES
    assert block.count("\r") == block.count("\n") == 3
    read = json.loads(base64.b64decode(trailers[1][1], validate=True))
    encodable = message.encode(errors="replace").decode()
    assert encodable.startswith(read["errorMessage"].removesuffix("...")) or read["errorMessage"] == encodable


@pytest.mark.parametrize("frames", [0, 3000])
def test_a_short_message_is_kept_whole_however_long_the_rest_is(frames: int) -> None:
    """The stack trace is cut before the message, its outermost frames first."""
    trace = [f"frame {number}\n" * 5 for number in range(frames)]
    (_, named), (_, body) = error_trailers(FunctionError("why " * 100, "T" * (5000 - frames), "r", trace))
    read = json.loads(base64.b64decode(body))
    assert named == "T" * 256
    assert read["errorMessage"] == "why " * 100
    kept = read.get("stackTrace", [])
    assert kept == trace[len(trace) - len(kept) :]
    assert bool(kept) == (frames > 0)
