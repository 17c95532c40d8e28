"""Composing the answer: what is asked decides the opening, what is known fills the middle."""

from __future__ import annotations

import random
import re
from enum import Enum

from coachstream.language.demo.notes import Notes, Record
from coachstream.language.demo.voice import Phrases, Voice, voice_of

_QUOTE_CHARACTERS = 90
_PASSAGE_SENTENCES = 2
_PASSAGE_CHARACTERS = 320

_SENTENCE = re.compile(r"[^.!?…]*[.!?…]+(?=\s|$)|[^.!?…]+$")


class Intent(Enum):
    """What a message wants; the first whose words it holds, in this order."""

    PAIN = r"\b(pain|hurts?|hurting|sore|injur\w+|ache\w*|irritated|grumpy|twinge|swollen)\b"
    THANKS = r"^\W*(thanks?( you| a lot)?|thx|cheers|great,? thanks)\b.{0,40}$"
    GREETING = r"^\W*(hi|hello|hey|good (morning|afternoon|evening)|morning)\b.{0,30}$"
    PLAN = r"\b(plan|program\w*|session|workout|what sh(ould|all) i|routine|week|today|tomorrow|schedule)\b"
    REPORT = (
        r"\b(i|we) (just |have |'ve )?(did|finished|completed|ran|rowed|squatted|lifted|made|managed|hit)\b"
    )
    QUESTION = r"\?"
    STATEMENT = r""


def compose_answer(notes: Notes, chance: random.Random) -> str:
    """Compose an answer of several paragraphs, which ends by saying what wrote it."""
    voice = voice_of(notes.character)
    intent = intent_of(notes.question)
    paragraphs = [_opening(notes, voice, intent, chance)]
    steps = "\n".join(f"- {chance.choice(step)}" for step in voice.steps)
    if intent is Intent.PLAN:
        paragraphs.append(steps)
    if notes.passages and intent is not Intent.THANKS:
        paragraphs.append(_passage(notes.passages[0], voice, chance))
    known = []
    if notes.memories:
        remembered = _closest(notes.memories, notes.question)
        known.append(chance.choice(voice.memory).format(text=_quoted(remembered.text)))
    if notes.workouts:
        last = notes.workouts[0]
        line = chance.choice(voice.workout).format(when=last.lead or "last time", text=_ended(last.text))
        known.append(line[0].upper() + line[1:])
    chance.shuffle(known)
    is_small_talk = intent in {Intent.GREETING, Intent.THANKS}
    paragraphs += known[:1] if is_small_talk else known
    if intent is Intent.PAIN:
        paragraphs.append(steps)
    if notes.earlier and not is_small_talk:
        paragraphs.append(chance.choice(voice.earlier).format(quote=_quoted(notes.earlier[-1])))
    paragraphs.append(chance.choice(voice.closing))
    paragraphs.append(_signature(notes))
    return "\n\n".join(paragraphs)


def intent_of(question: str) -> Intent:
    """What the message wants."""
    text = question.strip().lower()
    return next(intent for intent in Intent if re.search(intent.value, text, re.DOTALL))


def _opening(notes: Notes, voice: Voice, intent: Intent, chance: random.Random) -> str:
    phrases: dict[Intent, Phrases] = {
        Intent.GREETING: voice.greeting,
        Intent.THANKS: voice.thanks,
        Intent.PAIN: voice.pain,
        Intent.PLAN: voice.plan,
        Intent.REPORT: voice.report,
        Intent.QUESTION: voice.question,
        Intent.STATEMENT: voice.statement,
    }
    opening = chance.choice(phrases[intent]).format(
        daytime=_daytime(notes.hour), weekday=notes.weekday or "day like this", quote=_quoted(notes.question)
    )
    if intent in {Intent.PAIN, Intent.PLAN, Intent.REPORT}:
        # What the person wrote comes first, so that the answer is seen to be one.
        opening = f"{_quoted(notes.question)} {opening}"
    return opening


def _passage(passage: Record, voice: Voice, chance: random.Random) -> str:
    sentences = [sentence.strip() for sentence in _SENTENCE.findall(passage.text) if sentence.strip()]
    text = " ".join(sentences[:_PASSAGE_SENTENCES])
    title = f"“{passage.lead}”" if passage.lead else "a note of mine"
    return chance.choice(voice.passage).format(
        title=title, text=_ended(_shortened(text, _PASSAGE_CHARACTERS))
    )


def _signature(notes: Notes) -> str:
    return (
        f"{notes.coach_name}, played by the demo model: put together from your records, with no language "
        "model behind it."
    )


def _closest(records: tuple[Record, ...], question: str) -> Record:
    """The record that shares most words with the question; the first of equals."""
    asked = _stems(question)
    return max(records, key=lambda record: len(asked & _stems(record.text)))


def _stems(text: str) -> set[str]:
    """The first letters of the longer words: enough to find `squatting` by `squat`."""
    return {word[:5] for word in re.findall(r"\w{4,}", text.lower())}


def _daytime(hour: int | None) -> str:
    if hour is None:
        return "day"
    if hour < 12:  # noqa: PLR2004 (noon)
        return "morning"
    return "afternoon" if hour < 18 else "evening"  # noqa: PLR2004 (six)


def _quoted(text: str) -> str:
    return f"“{_shortened(text, _QUOTE_CHARACTERS)}”"


def _ended(text: str) -> str:
    return text if text[-1:] in ".!?…" else f"{text}."


def _shortened(text: str, limit: int) -> str:
    """The text on one line, cut between words; a word that is too long alone stays whole."""
    words = text.split()
    kept: list[str] = []
    length = 0
    for word in words:
        length += len(word) + 1
        if kept and length > limit:
            return " ".join(kept) + " …"
        kept.append(word)
    return " ".join(kept)
