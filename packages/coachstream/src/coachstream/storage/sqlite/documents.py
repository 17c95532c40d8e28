"""Stored records as complete JSON documents, so that unknown fields are kept."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coachstream.conversation.run_log import decode_entry
from coachstream.sqlite_file import decoding

decode_log_entry = decoding(decode_entry)
"""Decode an entry in a column. Raises `DamagedValue`."""


def encode_document(attributes: Mapping[str, object]) -> str:
    """Encode a record for a column."""
    return msgspec.json.encode(attributes).decode()


@decoding
def decode_document(document: str) -> dict[str, object]:
    """Decode the record in a column. Raises `DamagedValue`."""
    return msgspec.json.decode(document, type=dict[str, object])
