"""What can go wrong."""

from __future__ import annotations


class PackageError(Exception):
    """There is no package; the message says why, and what to do."""
