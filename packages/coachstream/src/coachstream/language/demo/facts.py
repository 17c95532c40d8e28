"""Replies that the records contain: the week, the last session, the next load."""

from __future__ import annotations

import re

from coachstream.language.demo.intent import Intent
from coachstream.language.demo.notes import Notes, Record

_DAYS = re.compile(r"(?P<days>\d+) days ago")
_LIFT = re.compile(r"\b(squat|deadlift|bench|press|row)\b", re.IGNORECASE)
_STEP_KG = 2.5
_WEEK_DAYS = 7
_REST_DAYS = 2


def fact_for(intent: Intent, notes: Notes) -> str | None:
    """The reply to a question about the records, or to an unsupported one; None for other messages."""
    match intent:
        case Intent.WHO:
            return (
                f"I am {notes.coach_name}, as far as a demo goes: I read your workouts, memories and "
                "messages, and put a reply together from them. With --model bedrock, a real one does."
            )
        case Intent.FOOD:
            return (
                "Your records say nothing about food, and the demo model makes nothing up: a language model "
                "would answer this."
            )
        case Intent.WEEK:
            return _week(notes.workouts)
        case Intent.LAST:
            return _last(notes.workouts)
        case Intent.LOAD:
            return _next_load(notes)
        case _:
            return None


def _week(workouts: tuple[Record, ...]) -> str | None:
    recent = [workout for workout in workouts if (_days_ago(workout) or 0) < _WEEK_DAYS]
    if not recent:
        return None if not workouts else f"There was no session in the last seven days. {_last(workouts)}"
    times = "once" if len(recent) == 1 else f"{len(recent)} times"
    lines = "\n".join(f"- {_capitalized(workout.lead)}: {workout.text}" for workout in recent)
    return f"You trained {times} in the last seven days:\n\n{lines}"


def _last(workouts: tuple[Record, ...]) -> str | None:
    return f"Your last session was {workouts[0].lead}: {workouts[0].text}" if workouts else None


def _next_load(notes: Notes) -> str | None:
    """The last session of the requested lift, and the next step."""
    lift = _LIFT.search(notes.question)
    if lift is None:
        return None
    weight = re.compile(rf"\b{lift[0]}s?\b[^;]*? at (?P<kg>\d+(?:\.\d+)?) kg", re.IGNORECASE)
    for workout in notes.workouts:
        found = weight.search(workout.text)
        if found is None:
            continue
        kg = float(found["kg"])
        is_clean = "clean" in workout.text
        step = (
            f"All sets were clean, so the next step is {kg + _STEP_KG:g} kg."
            if is_clean
            else f"Stay at {kg:g} kg until all sets are clean."
        )
        is_fresh = (_days_ago(workout) or 0) < _REST_DAYS
        rest = " That is not two days ago, so wait a day if you still feel it." if is_fresh else ""
        return f"The last time was {workout.lead}: {workout.text} {step}{rest}"
    return None


def _days_ago(workout: Record) -> int | None:
    if workout.lead.startswith("today"):
        return 0
    if workout.lead.startswith("yesterday"):
        return 1
    found = _DAYS.match(workout.lead)
    return int(found["days"]) if found else None


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
