"""The limits of the domain."""

from __future__ import annotations

LONGEST_REPLY_BYTES = 350_000
"""The longest reply, in UTF-8 bytes, that every store can hold: a DynamoDB item is limited to 400 KB."""
