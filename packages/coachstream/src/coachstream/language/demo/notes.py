"""Extracts from a prompt what it says about the coach, the user and the current time.

It parses the prompt as it is sent to a model, so the reply uses only what the prompt contains. Each record is
one line between data tags; lists without tags are parsed, too.
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
    """A record: the text before it (a day, a title), and its own text."""

    lead: str
    text: str


class Notes(msgspec.Struct, frozen=True):
    """The information in a prompt.

    Attributes:
        coach_name: the coach's name.
        character: the description of the coach, as one text.
        question: the message to reply to.
        earlier: the user's earlier messages, oldest first.
        weekday: the name of the weekday, if the prompt has it.
        hour: the hour of the day, if the prompt has it.
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
    """Parse a prompt; missing information is empty."""
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
    """Split off a title that the text itself begins with, before a colon."""
    found = None if record.lead else _TITLED.fullmatch(record.text)
    return Record(found["title"], found["text"]) if found else record
