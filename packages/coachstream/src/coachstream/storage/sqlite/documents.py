"""Stored records as JSON documents: whole, so that nothing unknown is lost."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coachstream.sqlite_file import decoding


def encode_document(attributes: Mapping[str, object]) -> str:
    """A record as it is kept in a column."""
    return msgspec.json.encode(attributes).decode()


@decoding
def decode_document(document: str) -> dict[str, object]:
    """The record in a column. Raises `DamagedValue`."""
    return msgspec.json.decode(document, type=dict[str, object])
