"""Classifies messages by their words."""

from __future__ import annotations

import re
from enum import Enum


class Intent(Enum):
    """The intent of a message: the first whose pattern matches, in this order."""

    PAIN = r"\b(pain|hurts?|hurting|sore|injur\w+|ache\w*|irritated|grumpy|twinge|swollen)\b"
    WHO = (
        r"\b(who|what) are you\b|\bare you (an? )?(real|human|bot|robot|ai|person)\b|"
        r"\bwhat can you do\b|\byour name\b"
    )
    THANKS = r"^\W*(thanks?( you| a lot)?|thx|cheers|great,? thanks)\b.{0,40}$"
    GREETING = r"^\W*(hi|hello|hey|good (morning|afternoon|evening)|morning)\b.{0,30}$"
    FOOD = (
        r"\b(eat\w*|food|diet|protein|calories|nutrition|meals?|breakfast|lunch|dinner|creatine|"
        r"supplements?)\b"
    )
    WEEK = (
        r"\bhow (was|is|did|has|were|are)\b.*\b(week|training|going)\b|\b(recap|summary|my progress)\b|"
        r"\bhow am i doing\b|\bwhat did (i|we) do (this|last) week\b"
    )
    LAST = r"\bwhat did (i|we) do\b|\bmy (last|previous) (session|workout|training)\b|\blast time\?"
    LOAD = r"\b(what|how (much|heavy))\b.*\b(squat|deadlift|bench|press|row)\b"
    PLAN = r"\b(plan|program\w*|session|workout|what sh(ould|all) i|routine|week|today|tomorrow|schedule)\b"
    REPORT = (
        r"\b(i|we) (just |have |'ve )?(did|finished|completed|ran|rowed|squatted|lifted|made|managed|hit)\b"
    )
    QUESTION = r"\?"
    STATEMENT = r""


def intent_of(question: str) -> Intent:
    """The intent of a message."""
    text = question.strip().lower()
    return next(intent for intent in Intent if re.search(intent.value, text, re.DOTALL))
