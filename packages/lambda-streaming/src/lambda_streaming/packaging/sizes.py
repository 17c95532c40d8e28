"""What a zip file contains, and whether Lambda takes it; sizes in bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import msgspec

from lambda_streaming.packaging.errors import PackageError

MEGABYTE: Final = 1_000_000
MOST_UNZIPPED: Final = 250 * MEGABYTE
"""Lambda's limit for a function with its layers (Lambda developer guide, "Lambda quotas", 2026-11-28)."""


class Component(msgspec.Struct, frozen=True):
    """A component of a zip file."""

    name: str
    unzipped: int
    zipped: int


def components_of(sizes: Mapping[str, tuple[int, int]], origins: Mapping[str, str]) -> tuple[Component, ...]:
    """Return the components, the largest first.

    Args:
        sizes: for each file, its size and its compressed size.
        origins: for each file, the distribution that it belongs to; any other file is a component of its own.
    """
    unzipped: dict[str, int] = defaultdict(int)
    zipped: dict[str, int] = defaultdict(int)
    for name, (size, size_in_zip) in sizes.items():
        component = "byte code" if name.endswith(".pyc") else origins.get(name, name)
        unzipped[component] += size
        zipped[component] += size_in_zip
    found = (Component(name, unzipped[name], zipped[name]) for name in unzipped)
    return tuple(sorted(found, key=lambda component: -component.zipped))


def check_size(what: str, components: tuple[Component, ...], *, zipped: int, most_zipped: int) -> None:
    """Refuse a zip file that is too large.

    Raises:
        PackageError: it is larger than the maximum, zipped or unzipped.
    """
    unzipped = sum(component.unzipped for component in components)
    for size, most, subject in (
        (zipped, most_zipped, f"The {what} is"),
        (unzipped, MOST_UNZIPPED, f"Unzipped, the {what} is"),
    ):
        if size > most:
            largest = ", ".join(f"{each.name} {each.zipped / MEGABYTE:.1f} MB" for each in components[:3])
            raise PackageError(
                f"{subject} {size / MEGABYTE:.1f} MB, more than {most / MEGABYTE:g} MB. "
                f"The largest: {largest}."
            )
