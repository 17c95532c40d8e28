"""Errors of building a package."""

from __future__ import annotations


class PackageError(Exception):
    """Raised when the package cannot be built; the message has the reason and the remedy."""
