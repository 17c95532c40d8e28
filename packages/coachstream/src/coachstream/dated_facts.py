"""Facts about third-party services that expire: each has a source and a date.

A table of such facts is next to the code that uses it, and each row has a `Provenance`. Its module defines
`DATED_FACTS: Mapping[str, Provenance]`, the facts as sentences, which `coachstream.check.facts` registers;
`make check-facts` reports which facts are due for review.
"""

from __future__ import annotations

from datetime import date

import msgspec


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where a fact comes from.

    Attributes:
        source: a page, a public thread or a section of a manual, precise enough to find it again.
        looked_up: when the source was last read.
        ends: the first day on which the fact is known to be wrong; `None` if no such day is announced, and
            for a fact about the past, such as a retired model.
    """

    source: str
    looked_up: date
    ends: date | None = None
