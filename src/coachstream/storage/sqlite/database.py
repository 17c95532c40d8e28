"""The database file."""

from __future__ import annotations

from coachstream.conversation.errors import StorageUnavailable


class UnusableDatabase(StorageUnavailable):
    """The file is not a database of this program, or of a newer version; waiting does not help."""

    retryable = False
