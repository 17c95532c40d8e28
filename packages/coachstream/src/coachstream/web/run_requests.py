"""How a reader names a run, and where it wants to go on."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import parse_qsl

import msgspec

from coachstream.conversation.events import LogPoint
from coachstream.conversation.run_log import FROM_THE_BEGINNING, UNKNOWN_ENTRY
from lambda_streaming.function_url.event import FunctionUrlEvent

LAST_EVENT_ID = "last-event-id"
CURSOR_PARAMETERS = frozenset({"after", "lastEventId"})
"""`after` is ours; the other one is how `event-source-polyfill` repeats the id that it had last."""

TICKET = "ticket"

POINT = re.compile(r"(run_[0-9A-Za-z_]{1,100}):([0-9]{1,18})")
"""A cursor: the id of a run and the number of an entry of its log."""

_JSON = "application/json"
_ANY = {"*/*", "text/*", "text/event-stream"}


class RunStartedBody(msgspec.Struct, frozen=True, rename="camel"):
    """A run that waits for its first reader."""

    run_id: str
    events_url: str


class RunStoppedBody(msgspec.Struct, frozen=True, rename="camel"):
    """A run that is being stopped, or was over already."""

    run_id: str
    status: Literal["stopping", "finished"]


def wants_json(event: FunctionUrlEvent) -> bool:
    """Whether the reply's address is asked for (`Accept: application/json`), not the reply itself."""
    types = {part.partition(";")[0].strip().lower() for part in (event.header("accept") or "").split(",")}
    return _JSON in types and not types & _ANY


class Cursor(msgspec.Struct, frozen=True):
    """What a request says of how far its reader has come.

    Attributes:
        points: all that it names; a client that reconnects adds the newest to an address with an older one.
        is_given: whether it says anything, be it nothing that we understand.
    """

    points: tuple[LogPoint, ...] = ()
    is_given: bool = False

    @property
    def newest(self) -> LogPoint | None:
        """The furthest point in the newest run, if there is one."""
        return max(self.points, key=lambda point: (point.run_id, point.number), default=None)

    def after(self, run_id: str) -> int:
        """Which entry of that run the reader has everything up to (see `ResumeRequest.after`)."""
        nothing = UNKNOWN_ENTRY if self.is_given else FROM_THE_BEGINNING
        return max((point.number for point in self.points if point.run_id == run_id), default=nothing)


def cursor_of(event: FunctionUrlEvent) -> Cursor:
    """Where the reader wants to go on, in whichever way its client says it.

    That is the header `Last-Event-ID` or a parameter of the address. A parameter of another name counts, too,
    if its value is one of our ids: nothing else looks like them, and a client with a dialect of its own would
    otherwise be sent a finished run again and again.
    """
    parameters = parse_qsl(event.raw_query_string)
    named = [event.header(LAST_EVENT_ID) or ""]
    named += [value for name, value in parameters if name in CURSOR_PARAMETERS]
    texts = [text.strip() for value in named for text in value.split(",")]
    texts += [value for name, value in parameters if name not in CURSOR_PARAMETERS]
    matches = [match for text in texts if (match := POINT.fullmatch(text))]
    points = tuple(LogPoint(match[1], int(match[2])) for match in matches)
    return Cursor(points, is_given=bool(points) or any(named))


def events_url(event: FunctionUrlEvent, run_id: str, ticket: str) -> str:
    """The address of a run's events, relative to that of the request that opened it."""
    folder = "" if event.raw_path.endswith("/") else "stream/"
    return f"{folder}{run_id}?{TICKET}={ticket}"
