"""JSON texts of what may have half of a surrogate pair."""

from __future__ import annotations

import json

import msgspec

_encoder = msgspec.json.Encoder()


def encode_json(value: object, encoder: msgspec.json.Encoder = _encoder) -> bytes:
    """The value as JSON on one line, in UTF-8; a lone surrogate, which that cannot encode, as its escape.

    Args:
        value: what the encoder accepts.
        encoder: encodes it, unless it has a lone surrogate.
    """
    try:
        return encoder.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value, order="deterministic"), separators=(",", ":")).encode(
            "ascii"
        )
