"""The log of a run: everything that happened to it, in numbered entries.

The log is the run. There is no other record of who produces it, whether it is alive or what was said. An
entry is appended under the next number, or not at all where another one has that number already. So whoever
writes knows everything that was written before:

- **The lease** lasts for `lease_ms` after each entry of the producer, which renews it; whoever else appends
  copies it. Others judge it by their own monotonic clocks (`runs.lease`).
- **The epoch** is raised by who takes the run over. A producer that was taken over finds an entry of a higher
  epoch where it wanted to write its own, and writes no more.
- **A stop** is an entry, too: the producer finds it in the same way, in the answer to its next write.
- **The end** is the last entry. Nothing follows it. That of a run whose conversation was deleted is a
  tombstone: it keeps the producer from writing what would be left behind.

Numbers begin at 0, with `Opened`. Offsets count UTF-16 code units, as a JavaScript string's length does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import msgspec

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.model import SemanticContextUse, StopReason, Timings, Usage
from coachstream.conversation.text import utf16_length

FROM_THE_BEGINNING = -1
"""The entry before the first: the reader has nothing of the run."""

UNKNOWN_ENTRY = 2**63 - 1
"""An entry that no log has: the reader names a place that is not understood."""


class Opened(msgspec.Struct, frozen=True, tag="opened", rename="camel"):
    """The run exists, and its user message is stored.

    Attributes:
        user_message_id: what is to be answered.
        is_first_attempt: whether the message is new with this run.
        has_producer: whether who opened it produces it, too; else the first reader does.
        at: when, in milliseconds since 1970; not before the time in any id of the conversation. A reply has
            a later time in its id, whatever the clock of the process that stores it says.
    """

    user_message_id: str
    is_first_attempt: bool = True
    has_producer: bool = True
    at: int = 0


class Said(msgspec.Struct, frozen=True, tag="said", rename="camel"):
    """A segment of the reply, and where it begins. An empty one only renews the lease."""

    text: str
    offset: int


class Reset(msgspec.Struct, frozen=True, tag="reset", rename="camel"):
    """Nothing that was said holds any more; the reply begins anew at offset 0."""


class StopAsked(msgspec.Struct, frozen=True, tag="stop", rename="camel"):
    """The user wants no more of it."""


class Released(msgspec.Struct, frozen=True, tag="released", rename="camel"):
    """The producer ran out of time at a committed point; who reads on produces on."""


class Claimed(msgspec.Struct, frozen=True, tag="claimed", rename="camel"):
    """Another producer goes on from here, in a new epoch."""


class Finished(msgspec.Struct, frozen=True, tag="finished", rename="camel"):
    """The reply is stored, whole or stopped."""

    reply_id: str
    stop_reason: StopReason
    semantic_context: SemanticContextUse
    usage: Usage
    timings: Timings


class Broken(msgspec.Struct, frozen=True, tag="broken", rename="camel"):
    """There is no whole reply; `partial_reply_id` is that of the part that was stored, if one was."""

    code: ErrorCode
    retryable: bool
    partial_reply_id: str | None = None


Ending = Finished | Broken

Content = Opened | Said | Reset | StopAsked | Released | Claimed | Finished | Broken


class LogEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One entry.

    Attributes:
        number: its place in the log.
        epoch: of the producer at that time; 0 before the first one.
        leased_until: the end of the lease in milliseconds since 1970, as its writer's wall clock has it.
        writer: who wrote it: so that a write whose answer was lost is recognized when it is repeated.
        content: what happened.
        lease_ms: the lease duration; None in entries of former versions.
    """

    number: int
    epoch: int
    leased_until: int
    writer: str
    content: Content
    lease_ms: int | None = None


class RunState(msgspec.Struct, frozen=True):
    """What the log says up to an entry.

    Attributes:
        opened: how it began.
        text: what was said and still holds.
        offset: the length of the text, in UTF-16 code units.
        last: the last entry.
        is_stop_asked: whether a stop was asked for.
    """

    opened: Opened
    text: str
    offset: int
    last: LogEntry
    is_stop_asked: bool

    @classmethod
    def of(cls, entries: Iterable[LogEntry]) -> Self | None:
        """Read a log from its beginning; None where there is none."""
        opened: Opened | None = None
        last: LogEntry | None = None
        said: list[str] = []
        is_stop_asked = False
        for entry in entries:
            last = entry
            match entry.content:
                case Opened():
                    opened = entry.content
                case Said(text):
                    said.append(text)
                case Reset():
                    said.clear()
                case StopAsked():
                    is_stop_asked = True
                case _:
                    pass
        if opened is None or last is None:
            return None
        text = "".join(said)
        return cls(opened, text, utf16_length(text), last, is_stop_asked)

    @property
    def ending(self) -> Ending | None:
        """How it ended, if it did."""
        return ending_of(self.last)


def ending_of(last: LogEntry) -> Ending | None:
    """How the run ended whose last entry this is, if it did."""
    return last.content if isinstance(last.content, Finished | Broken) else None


def tombstone(last: LogEntry | None, writer: str) -> LogEntry:
    """The end of a run whose conversation is deleted, behind its last entry."""
    gone = Broken(ErrorCode.CONVERSATION_NOT_FOUND, retryable=False)
    if last is None:
        return LogEntry(0, 0, 0, writer, gone)
    return LogEntry(last.number + 1, last.epoch + 1, last.leased_until, writer, gone)


def is_tombstone(entry: LogEntry) -> bool:
    """Whether the run ended because its conversation was deleted."""
    return isinstance(entry.content, Broken) and entry.content.code is ErrorCode.CONVERSATION_NOT_FOUND


def awaits_producer(last: LogEntry) -> bool:
    """Whether the run whose last entry this is may be produced by who reads it."""
    match last.content:
        case Opened(has_producer=has_producer):
            return not has_producer
        case Released():
            return True
        case _:
            return False


_decoder = msgspec.json.Decoder(LogEntry)


def encode_entry(entry: LogEntry) -> str:
    """As JSON, for stores."""
    return msgspec.json.encode(entry).decode()


def decode_entry(text: str) -> LogEntry:
    """From JSON.

    Raises:
        msgspec.DecodeError: the text is no entry.
    """
    return _decoder.decode(text)
