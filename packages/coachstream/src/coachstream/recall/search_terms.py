"""Converts user text to an FTS5 query: each word quoted, any of them may match.

FTS5 has its own query language (`AND`, `NEAR`, `*`, `^`, `-`, column names). Only whole, quoted words of
letters and digits are passed to it, so no text can cause a syntax error or be parsed as an operator.
"""

from __future__ import annotations

import re
import unicodedata

MAX_TERMS = 64
"""The maximum number of words searched; of a long message the longest words, which are the most specific."""

_WORD = re.compile(r"[^\W_]+")

# Words of English messages to a coach that do not indicate their subject.
STOP_WORDS = frozenset(
    """
    a about after again all also am an and any are as at be because been before being but by can
    cannot could did do does doing don down during each few for from further get go going got had
    has have having he her here hers him his how i if in into is it its just let like me more most
    my need no nor not now of off on once only or other our ours out over own please really same she
    should so some such than thank thanks that the their theirs them then there these they this
    those through to today too tomorrow under until up very want was we were what when where which
    while who whom why will with would yes yesterday you your yours ll re ve isn doesn didn won
    wouldn couldn shouldn wasn aren haven hasn
    """.split()  # noqa: SIM905 (a hundred quoted words would be unreadable)
)


def match_expression(text: str) -> str | None:
    """The FTS5 `MATCH` expression for a text, or `None` if it has no searchable words."""
    terms = search_terms(text)
    return " OR ".join(f'"{term}"' for term in terms) if terms else None


def search_terms(text: str) -> list[str]:
    """The distinct searchable words, in lower case and in order; the longest `MAX_TERMS` of them."""
    words = (word.lower() for word in _WORD.findall(unicodedata.normalize("NFKC", text)))
    terms = dict.fromkeys(word for word in words if len(word) > 1 and word not in STOP_WORDS)
    kept = set(sorted(terms, key=len, reverse=True)[:MAX_TERMS])
    return [term for term in terms if term in kept]
