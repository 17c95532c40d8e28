"""Errors of building a zip file."""

from __future__ import annotations


class PackageError(Exception):
    """Raised when the zip file cannot be built; the message has the reason and the remedy."""
