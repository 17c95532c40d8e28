"""From what a person wrote to an FTS5 query: each word quoted, any of them may match.

A query of FTS5 is a language of its own (`AND`, `NEAR`, `*`, `^`, `-`, column names). Only whole words, made
of letters and digits and in quotes, reach it, so no text is a syntax error or means more than its words.
"""

from __future__ import annotations

import re
import unicodedata

MAX_TERMS = 64
"""Of a message of up to 32,000 characters, the longest words are searched: they say most."""

_WORD = re.compile(r"[^\W_]+")

# What English messages to a coach are made of besides their subject.
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
    """.split()  # noqa: SIM905 (a hundred quoted words would be read by nobody)
)


def match_expression(text: str) -> str | None:
    """The FTS5 `MATCH` expression for a text, or `None` when it holds no word worth a search."""
    terms = search_terms(text)
    return " OR ".join(f'"{term}"' for term in terms) if terms else None


def search_terms(text: str) -> list[str]:
    """The distinct words worth a search, in lower case, in their order; the longest `MAX_TERMS` of them."""
    words = (word.lower() for word in _WORD.findall(unicodedata.normalize("NFKC", text)))
    terms = dict.fromkeys(word for word in words if len(word) > 1 and word not in STOP_WORDS)
    kept = set(sorted(terms, key=len, reverse=True)[:MAX_TERMS])
    return [term for term in terms if term in kept]
