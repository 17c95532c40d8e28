"""What the stores require of a message that was sent before."""

from __future__ import annotations

from coachstream.conversation.errors import IdempotencyMismatch
from coachstream.conversation.model import Message


def require_same_text(stored: Message, again: Message) -> None:
    """Refuse another text under an idempotency key: its turn would reply to the stored one.

    Raises:
        IdempotencyMismatch: the texts differ.
    """
    if stored.content != again.content:
        raise IdempotencyMismatch
