"""Reading a prompt as a model would: what it says of the coach, the user and the moment.

It takes the prompt as it is sent, so what the answer knows is what the prompt holds. Records stand in it as
one line each, between data tags; lists without tags are understood, too.
"""

from __future__ import annotations

import re

import msgspec

from coachstream.conversation.model import Role
from coachstream.conversation.prompt.prompt import Prompt, SectionName

_DATA = re.compile(r"^(?P<lead>[^\n<]*)<data>(?P<text>[^\n]*?)</data>", re.MULTILINE)
_ITEM = re.compile(r"^(?:[-*]|\d+[.)])\s+(?P<lead>)(?P<text>\S[^\n]*)", re.MULTILINE)
_BULLET = re.compile(r"^\s*(?:[-*]|\d+[.)])\s*")
_TITLED = re.compile(r"(?P<title>[^.:!?]{2,80}): (?P<text>.+)")
_NOW = re.compile(r"(?P<weekday>\w+day),? .*?(?P<hour>\d{2}):\d{2}")


class Record(msgspec.Struct, frozen=True):
    """One record: what the prompt says before it (a day, a title), and its text."""

    lead: str
    text: str


class Notes(msgspec.Struct, frozen=True):
    """What the prompt says.

    Attributes:
        coach_name: the coach.
        character: how the coach is described, as one text.
        question: the message to answer.
        earlier: what the user said before, oldest first.
        weekday: the day's name, if the prompt tells it.
        hour: the hour of the day, likewise.
        memories, workouts, passages: the records, best or newest first.
    """

    coach_name: str
    character: str
    question: str
    earlier: tuple[str, ...]
    weekday: str | None
    hour: int | None
    memories: tuple[Record, ...]
    workouts: tuple[Record, ...]
    passages: tuple[Record, ...]


def read_notes(prompt: Prompt) -> Notes:
    """Read a prompt; whatever it lacks is empty."""
    texts = {section.name: section.text for section in prompt.sections}
    said = [message.text for message in prompt.messages if message.role is Role.USER]
    now = _NOW.search(texts.get(SectionName.CURRENT_TIME, ""))
    character = (SectionName.IDENTITY, SectionName.MOTIVATION, SectionName.GUIDELINES)
    return Notes(
        coach_name=prompt.coach_name,
        character="\n".join(texts.get(name, "") for name in character),
        question=said[-1] if said else "",
        earlier=tuple(said[:-1]),
        weekday=now["weekday"] if now else None,
        hour=int(now["hour"]) if now else None,
        memories=_records(texts.get(SectionName.MEMORIES, "")),
        workouts=_records(texts.get(SectionName.WORKOUTS, "")),
        passages=tuple(map(_titled, _records(texts.get(SectionName.SEMANTIC_CONTEXT, "")))),
    )


def _records(section: str) -> tuple[Record, ...]:
    pattern = _DATA if _DATA.search(section) else _ITEM
    return tuple(
        Record(_BULLET.sub("", found["lead"]).strip().rstrip(":"), found["text"].strip())
        for found in pattern.finditer(section)
        if found["text"].strip()
    )


def _titled(record: Record) -> Record:
    """A title that stands in the text itself, before a colon."""
    found = None if record.lead else _TITLED.fullmatch(record.text)
    return Record(found["title"], found["text"]) if found else record
