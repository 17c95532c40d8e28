"""Whether a run's lease holder is alive, from one observer's view.

Wall clocks differ between machines and can jump. Comparing a lease with the observer's wall clock would close
a healthy run if the observer is ahead, and keep a dead one if it is behind. So the observer's monotonic clock
decides: a lease has expired when the observer has watched it for the whole lease duration without a renewal.
If the wall clock says that it expired long ago, by more than any clock skew, a few missed renewals suffice:
a user who comes back the next day does not wait for a lease, and a jumping clock still closes no healthy run.
"""

from __future__ import annotations

from collections.abc import Sequence

from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.ports import Clock
from coachstream.conversation.run_log import (
    MAX_CLOCK_SKEW,
    LogEntry,
    StopAsked,
    awaits_producer,
    ending_of,
)
from coachstream.conversation.runs.settings import RunSettings

MISSED_RENEWALS = 3
"""A live lease holder does not miss this many renewals in a row unless the store hangs."""


class LeaseWatch:
    """One observer's view of the lease of one run, from successive reads of its log.

    Attributes:
        was_renewed: whether a later read found a renewal: the lease holder is alive.
    """

    def __init__(self, clock: Clock, settings: RunSettings) -> None:
        self._clock = clock
        self._settings = settings
        self._lease: LogEntry | None = None
        self._seen_at = self._looked_at = clock.monotonic()
        self.was_renewed = False

    def note(self, entries: Sequence[LogEntry], *, asked_at: float) -> None:
        """Record a read of the log.

        Args:
            entries: the new entries since the previous read, or only the last entry.
            asked_at: the monotonic time when the read was sent; no other entry had been written by then.
        """
        self._looked_at = asked_at
        is_first_look = self._lease is None
        for entry in entries:
            if self._is_renewal(entry):
                self.was_renewed = not is_first_look
                self._lease = entry
                self._seen_at = self._clock.monotonic()

    @property
    def seconds_left(self) -> float:
        """How long this observer must keep watching before it may conclude that the lease has expired."""
        return max(0.0, self._seen_at + self._needed_s - self._clock.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the lease has expired: its holder is dead, or no reader claimed it in time."""
        return (
            self._lease is not None
            and ending_of(self._lease) is None
            and self._looked_at - self._seen_at >= self._needed_s
        )

    @property
    def is_long_over(self) -> bool:
        """Whether the lease expired long ago, by the wall clock alone."""
        return self._wall_clock_left_s < -MAX_CLOCK_SKEW.total_seconds()

    @property
    def is_alive(self) -> bool:
        """Whether the lease holder was observed alive, or must be alive if the clocks agree.

        The latter holds only while a renewal may be in flight or the first reader is still awaited, so a
        wrong clock cannot make a dead run look alive for longer than that.
        """
        if self._lease is None:
            return False
        slack_s = MISSED_RENEWALS * self._settings.renewed_every_s
        longest_s = self._lease_s + slack_s
        shortest_s = 0.0 if awaits_producer(self._lease) else self._lease_s - slack_s
        return self.was_renewed or shortest_s < self._wall_clock_left_s <= longest_s

    @property
    def _lease_s(self) -> float:
        if self._lease is None:
            return self._settings.lease_s
        if self._lease.lease_ms is not None:
            return self._lease.lease_ms / 1000
        # Written by an earlier version.
        is_awaiting = awaits_producer(self._lease)
        return self._settings.reader_awaited_s if is_awaiting else self._settings.lease_s

    @property
    def _needed_s(self) -> float:
        if self.is_long_over:
            return min(self._lease_s, MISSED_RENEWALS * self._settings.renewed_every_s)
        return self._lease_s

    @property
    def _wall_clock_left_s(self) -> float:
        leased_until = 0 if self._lease is None else self._lease.leased_until
        return (leased_until - milliseconds_of(self._clock.now())) / 1000

    def _is_renewal(self, entry: LogEntry) -> bool:
        """A stop request comes from another process and copies the lease: it does not keep the run alive."""
        if self._lease is None or not isinstance(entry.content, StopAsked):
            return self._lease is None or entry.number > self._lease.number
        return (entry.epoch, entry.leased_until) != (self._lease.epoch, self._lease.leased_until)
