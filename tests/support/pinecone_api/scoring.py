"""A stand-in for an embedding model: texts with common words are close. It scores all texts, like a model."""

from __future__ import annotations

import math
import re
from collections import Counter

_FREQUENT = frozenset("a all and at i if in is it my of on or should the to when with".split())  # noqa: SIM905


def similarity(one: str, other: str) -> float:
    """From 0 to 1: the cosine of the angle between two texts' counts of words."""
    left, right = _words(one), _words(other)
    length = math.sqrt(sum(n * n for n in left.values()) * sum(n * n for n in right.values()))
    return sum(left[word] * right[word] for word in left) / length if length else 0.0


def _words(text: str) -> Counter[str]:
    words = (word.lower().rstrip("s") for word in re.findall(r"[^\W_]+", text))
    return Counter(word for word in words if word not in _FREQUENT)
