"""How a reader names a run, and where it wants to go on."""

from __future__ import annotations

import msgspec

from lambda_streaming.function_url.event import FunctionUrlEvent

LAST_EVENT_ID = "last-event-id"
AFTER = "after"
TICKET = "ticket"

_JSON = "application/json"
_ANY = {"*/*", "text/*", "text/event-stream"}


class RunStartedBody(msgspec.Struct, frozen=True, rename="camel"):
    """A run that waits for its reader; `events_url` is relative to the address of the request."""

    run_id: str
    events_url: str


class RunStoppedBody(msgspec.Struct, frozen=True, rename="camel"):
    """A run that is being stopped, or was over already."""

    run_id: str
    status: str


def wants_json(event: FunctionUrlEvent) -> bool:
    """Whether the reply's address is asked for (`Accept: application/json`), not the reply itself."""
    types = {part.partition(";")[0].strip().lower() for part in (event.header("accept") or "").split(",")}
    return _JSON in types and not types & _ANY


def point_after(event: FunctionUrlEvent, run_id: str) -> int:
    """The number of the entry that the reader has everything up to; -1 for nothing, or nothing that we know.

    An `EventSource` that reconnects sends what it had last in `Last-Event-ID`, and its address as it was.
    """
    for text in (event.header(LAST_EVENT_ID), event.query.get(AFTER)):
        of_run, separator, number = (text or "").rpartition(":")
        if separator and of_run == run_id and number.isascii() and number.isdecimal():
            return int(number[:9])
    return -1


def events_url(event: FunctionUrlEvent, run_id: str, ticket: str) -> str:
    """The address of a run's events, relative to that of the request that opened it."""
    folder = "" if event.raw_path.endswith("/") else "stream/"
    return f"{folder}{run_id}?{TICKET}={ticket}"
