"""The log of a run: an append-only sequence of numbered entries.

The log is the run. There is no other record of who holds its lease, whether it is alive or what text it has.
An entry is appended under the next number, or rejected if that number is taken (optimistic concurrency). So a
writer that succeeds has seen every earlier entry:

- **The lease**: each entry of the lease holder renews it for `lease_ms`, the lease duration; other writers
  copy it unchanged. Observers measure it on their own monotonic clocks (`runs.lease`).
- **The epoch** is a fencing token: a process that takes over the run increments it. The former lease holder
  finds an entry of a higher epoch in place of its own, and stops writing.
- **A stop request** is an entry, too: the lease holder finds it in the same way, with its next write.
- **The end** is the last entry; nothing follows it. If the conversation was deleted, the last entry is a
  tombstone: it keeps the lease holder from writing orphaned items.

Numbers begin at 0, with `Opened`. Offsets count UTF-16 code units, as a JavaScript string's length does.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Self

import msgspec

from coachstream.conversation.another_try import AnotherTry
from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.ids import first_message_id, moment_of
from coachstream.conversation.model import QuotaLeft, SemanticContextUse, StopReason, Timings, Usage
from coachstream.conversation.text import utf16_length

FROM_THE_BEGINNING = -1
"""The position before the first entry: the reader has received nothing yet."""

MAX_CLOCK_SKEW = timedelta(minutes=10)
"""Between two processes. AWS rejects requests signed by a clock that is more than five minutes off."""

UNKNOWN_ENTRY = 2**63 - 1
"""A number that no log contains: the reader sent a cursor that could not be parsed."""


class Opened(msgspec.Struct, frozen=True, tag="opened", rename="camel"):
    """The run exists, and its user message is stored.

    Attributes:
        user_message_id: the message to reply to.
        is_first_attempt: whether the message is new with this run.
        has_producer: whether the process that opened the run holds its lease; if not, its first reader will.
        at: when, in milliseconds since 1970; not before the time in any id of the conversation. The reply
            has the next millisecond in its id, regardless of any clock; messages that are stored until the
            run ends have later ones (`first_waiting_id`).
        time_zone: the name of the zone that the client sent, for whichever process writes the reply.
        another_try: what the run tries again; None for the run of a message that was sent. A reply that is
            continued follows as the first `Said`.
    """

    user_message_id: str
    is_first_attempt: bool = True
    has_producer: bool = True
    at: int = 0
    time_zone: str | None = None
    another_try: AnotherTry | None = None


def reply_time(opened_at: int) -> datetime:
    """The time in the id of the reply of a run that was opened at `Opened.at`."""
    return moment_of(opened_at + 1)


def first_waiting_id(opened_at: int) -> str:
    """A lower bound for the ids of messages that wait for the end of a run: its reply sorts before it."""
    return first_message_id(moment_of(opened_at + 2))


class Said(msgspec.Struct, frozen=True, tag="said", rename="camel"):
    """A segment of the reply and its offset. An empty one only renews the lease (a heartbeat)."""

    text: str
    offset: int


class Reset(msgspec.Struct, frozen=True, tag="reset", rename="camel"):
    """All text so far is discarded; the reply starts over at offset 0."""


class StopAsked(msgspec.Struct, frozen=True, tag="stop", rename="camel"):
    """The user asked to stop the reply."""


class Released(msgspec.Struct, frozen=True, tag="released", rename="camel"):
    """The lease holder ran out of time after committing all text; the next reader continues the reply."""


class Claimed(msgspec.Struct, frozen=True, tag="claimed", rename="camel"):
    """Another process took the lease and continues from here, in a new epoch."""


class Finished(msgspec.Struct, frozen=True, tag="finished", rename="camel", omit_defaults=True):
    """The reply is stored, complete or stopped.

    Attributes:
        quotas: what was left of each quota; empty if there are none, or if it is not known.
    """

    reply_id: str
    stop_reason: StopReason
    semantic_context: SemanticContextUse
    usage: Usage
    timings: Timings
    quotas: tuple[QuotaLeft, ...] = ()


class Broken(msgspec.Struct, frozen=True, tag="broken", rename="camel"):
    """There is no complete reply; `partial_reply_id` is the id of the partial reply, if one was stored."""

    code: ErrorCode
    retryable: bool
    partial_reply_id: str | None = None


Ending = Finished | Broken

Content = Opened | Said | Reset | StopAsked | Released | Claimed | Finished | Broken


class LogEntry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One entry.

    Attributes:
        number: its position in the log.
        epoch: the lease holder's fencing token at that time; 0 before the first one.
        leased_until: the end of the lease in milliseconds since 1970, by its writer's wall clock.
        writer: who wrote it, so that a retry of a write whose response was lost is recognized.
        content: what happened.
        lease_ms: the lease duration; None in entries of earlier versions.
    """

    number: int
    epoch: int
    leased_until: int
    writer: str
    content: Content
    lease_ms: int | None = None


class RunState(msgspec.Struct, frozen=True):
    """The state of a run up to a log entry.

    Attributes:
        opened: the first entry.
        text: the reply so far.
        offset: the length of the text, in UTF-16 code units.
        last: the last entry.
        is_stop_asked: whether a stop was requested.
    """

    opened: Opened
    text: str
    offset: int
    last: LogEntry
    is_stop_asked: bool

    @classmethod
    def of(cls, entries: Iterable[LogEntry]) -> Self | None:
        """Replay a log from its beginning; None if it is empty."""
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
        """How the run ended, if it did."""
        return ending_of(self.last)


def ending_of(last: LogEntry) -> Ending | None:
    """How the run with this last entry ended, if it did."""
    return last.content if isinstance(last.content, Finished | Broken) else None


def tombstone(last: LogEntry | None, writer: str) -> LogEntry:
    """The tombstone of a run whose conversation is deleted, to be appended after its last entry."""
    gone = Broken(ErrorCode.CONVERSATION_NOT_FOUND, retryable=False)
    if last is None:
        return LogEntry(0, 0, 0, writer, gone)
    return LogEntry(last.number + 1, last.epoch + 1, last.leased_until, writer, gone)


def is_tombstone(entry: LogEntry) -> bool:
    """Whether the run ended because its conversation was deleted."""
    return isinstance(entry.content, Broken) and entry.content.code is ErrorCode.CONVERSATION_NOT_FOUND


def awaits_producer(last: LogEntry) -> bool:
    """Whether a reader may take the lease of the run with this last entry."""
    match last.content:
        case Opened(has_producer=has_producer):
            return not has_producer
        case Said():  # of a reply that is continued
            return last.epoch == 0
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
        msgspec.DecodeError: the text is not an entry.
    """
    return _decoder.decode(text)
