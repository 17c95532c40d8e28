"""uvicorn's HTTP/1.1 with timeouts for requests and a limit on the number of connections.

uvicorn limits only the time between two requests. It waits forever for a connection that sends nothing, or a
byte now and then, so a few hundred of those would exhaust the process's file descriptors (slow loris).
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD_TIMEOUT_S: Final = 10.0
"""From the connection, or the end of the previous response, to the end of a request's head."""

BODY_TIMEOUT_S: Final = 60.0
"""From the end of a request's head to the end of its body: Lambda accepts 6 MiB at most."""

MAX_CONNECTIONS: Final = 1000
"""Further ones are closed at once. A function has 10 environments by default, each with one response."""


class _Part(Enum):
    HEAD = auto()
    BODY = auto()


_TIMEOUT_S: Final = {_Part.HEAD: HEAD_TIMEOUT_S, _Part.BODY: BODY_TIMEOUT_S}


class LimitedH11Protocol(H11Protocol):
    """One connection; it is closed when the next part of a request does not arrive in time."""

    _due: tuple[RequestResponseCycle | None, _Part] | None = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Accept a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._limit()

    def data_received(self, data: bytes) -> None:
        """Pass on the received bytes and restart the timeout where a new part is due."""
        super().data_received(data)
        self._limit()

    def on_response_complete(self) -> None:
        """Start the timeout for another request."""
        super().on_response_complete()
        self._limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timeout."""
        self._stop_timer()
        super().connection_lost(exc)

    def _limit(self) -> None:
        """Start the timeout of the part that is due; one that was already due keeps its timer."""
        due = self._what_is_due()
        if due == self._due:
            return
        self._due = due
        self._stop_timer()
        if due is not None and not self.transport.is_closing():
            self._timer = self.loop.call_later(_TIMEOUT_S[due[1]], self._give_up)

    def _what_is_due(self) -> tuple[RequestResponseCycle | None, _Part] | None:
        """Return the part of a request, and after which request; None while a response is being sent."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return cycle, _Part.HEAD
        return (cycle, _Part.BODY) if cycle.more_body else None

    def _give_up(self) -> None:
        """Close gracefully, then abort if the client does not read what has been written."""
        self.transport.close()
        self._timer = self.loop.call_later(BODY_TIMEOUT_S, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
