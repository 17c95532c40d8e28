"""Composes the reply: the intent determines the opening, the records fill the middle."""

from __future__ import annotations

import random
import re

from coachstream.language.demo.facts import fact_for
from coachstream.language.demo.intent import Intent, intent_of
from coachstream.language.demo.notes import Notes, Record
from coachstream.language.demo.voice import Phrases, Voice, voice_of

_QUOTE_CHARACTERS = 90
_PASSAGE_SENTENCES = 2
_PASSAGE_CHARACTERS = 320

_SENTENCE = re.compile(r"\S.*?[.!?…]+(?=\s|$)|\S.*$", re.DOTALL)
"""Up to a punctuation mark followed by a blank, so that the point of `107.5 kg` does not end a sentence."""


def compose_answer(notes: Notes, chance: random.Random) -> str:
    """Compose a reply of several paragraphs, which ends with a label of the demo model."""
    voice = voice_of(notes.character)
    intent = intent_of(notes.question)
    fact = fact_for(intent, notes)
    if fact is None:
        paragraphs = [_opening(notes, voice, intent, chance), *_from_records(notes, voice, intent, chance)]
    else:
        # The user's text comes first, so that the reply visibly responds to it.
        paragraphs = [_quoted(notes.question), fact]
    paragraphs.append(chance.choice(voice.closing))
    paragraphs.append(_signature(notes))
    return "\n\n".join(paragraphs)


def _from_records(notes: Notes, voice: Voice, intent: Intent, chance: random.Random) -> list[str]:
    """Paragraphs from the records; fewer for small talk."""
    paragraphs = []
    steps = "\n".join(f"- {chance.choice(step)}" for step in voice.steps)
    if intent is Intent.PLAN:
        paragraphs.append(steps)
    logged = {workout.text for workout in notes.workouts}
    passages = [passage for passage in notes.passages if passage.text not in logged]
    if passages and intent is not Intent.THANKS:
        paragraphs.append(_passage(passages[0], voice, chance))
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
    related = [said for said in notes.earlier if _stems(said) & _stems(notes.question)]
    if related and not is_small_talk:
        paragraphs.append(chance.choice(voice.earlier).format(quote=_quoted(related[-1])))
    return paragraphs


def _opening(notes: Notes, voice: Voice, intent: Intent, chance: random.Random) -> str:
    phrases: dict[Intent, Phrases] = {
        Intent.GREETING: voice.greeting,
        Intent.THANKS: voice.thanks,
        Intent.PAIN: voice.pain,
        Intent.PLAN: voice.plan,
        Intent.REPORT: voice.report,
        Intent.STATEMENT: voice.statement,
    }
    opening = chance.choice(phrases.get(intent, voice.question)).format(
        daytime=_daytime(notes.hour), weekday=notes.weekday or "day like this", quote=_quoted(notes.question)
    )
    if intent in {Intent.PAIN, Intent.PLAN, Intent.REPORT}:
        # The user's text comes first, so that the reply visibly responds to it.
        opening = f"{_quoted(notes.question)} {opening}"
    return opening


def _passage(passage: Record, voice: Voice, chance: random.Random) -> str:
    text = " ".join(_SENTENCE.findall(passage.text)[:_PASSAGE_SENTENCES])
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
    """The record that shares the most words with the question; the first one on a tie."""
    asked = _stems(question)
    return max(records, key=lambda record: len(asked & _stems(record.text)))


def _stems(text: str) -> set[str]:
    """The first letters of the longer words, so that `squat` finds `squatting`."""
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
    """The text on one line, truncated between words; a first word that is too long is kept whole."""
    words = text.split()
    kept: list[str] = []
    length = 0
    for word in words:
        length += len(word) + 1
        if kept and length > limit:
            return " ".join(kept) + " …"
        kept.append(word)
    return " ".join(kept)
