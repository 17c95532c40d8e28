"""Facts about other people's services that become wrong by themselves: each has a source and a date.

A table of such facts stands next to the code that uses it, and each row carries a `Provenance`. Its
module has `DATED_FACTS: Mapping[str, Provenance]`, each fact in words with its provenance, which
`coachstream.check.facts` registers; `make check-facts` reports what is due for another look.
"""

from __future__ import annotations

from datetime import date

import msgspec


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a fact comes from.

    Attributes:
        source: a page, a public thread or a section of a manual, so that a reader finds it again.
        looked_up: when the source was last read.
        ends: the first day on which the fact is known to be wrong; `None` where no such day is announced, and
            for a fact about the past, such as a model that was withdrawn.
    """

    source: str
    looked_up: date
    ends: date | None = None
