"""A user's time zone, by its name in the IANA time zone database.

Whether a name has the form of one is decided without the database, which is read where dates are written. A
browser's database may be newer than ours, and `Intl` reports `Etc/Unknown` on a machine without a zone; so an
unknown name of the right form is no error, and the next choice applies.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, tzinfo

DEFAULT_TIME_ZONE = "UTC"

MAX_NAME_CHARS = 64
"""Twice the longest name in the database."""

# Names begin with an upper-case letter. What else is in the database's folder does not: `localtime`, which is
# the machine's zone, `posixrules`, and the copies under `posix/` and `right/`, the latter with leap seconds.
ZONE_NAME = re.compile(r"[A-Z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")


def is_zone_name(text: str) -> bool:
    """Whether the text has the form of a zone's name, such as `Europe/Berlin`."""
    return len(text) <= MAX_NAME_CHARS and ZONE_NAME.fullmatch(text) is not None


def zone_named(name: str) -> tzinfo | None:
    """The zone of that name; None if the database does not have it. The first use of a name reads a file."""
    if not is_zone_name(name):
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # not there, not a zone's file, or a folder
        return None


def first_known_zone(*names: str | None) -> tzinfo:
    """The zone of the first name that the database has; UTC if it has none of them. It may read files."""
    return next((zone for name in names if name and (zone := zone_named(name)) is not None), UTC)


async def load_zone(*names: str | None) -> tzinfo:
    """Like `first_known_zone`, without blocking the event loop."""
    if all(name in {None, "", DEFAULT_TIME_ZONE} for name in names):
        return UTC
    return await asyncio.to_thread(first_known_zone, *names)
