"""Whether a run's producer is alive, as one observer can tell.

No two clocks agree, and any may be set: a lease that is compared with the observer's wall clock kills a
healthy run where the observer is ahead, and keeps a dead one where it is behind. So the observer's monotonic
clock decides: a lease is over when it was looked at for its whole length and was not renewed. Where the wall
clock says that it was over long ago, by more than clocks differ, a few missed renewals are enough: so who
comes back the next day does not wait for a lease, and a clock that jumps still kills no healthy run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.ports import Clock
from coachstream.conversation.run_log import LogEntry, StopAsked, awaits_producer, ending_of
from coachstream.conversation.runs.settings import RunSettings

MAX_CLOCK_SKEW = timedelta(minutes=10)
"""Between two processes. AWS refuses requests that are signed with a clock more than five minutes off."""

MISSED_RENEWALS = 3
"""A producer that is alive does not miss so many in a row, unless the store hangs."""


class LeaseWatch:
    """What one observer has seen of the lease of one run, in one look at its log after another.

    Attributes:
        was_renewed: whether a later look found what the first one did not: the producer is alive.
    """

    def __init__(self, clock: Clock, settings: RunSettings) -> None:
        self._clock = clock
        self._settings = settings
        self._lease: LogEntry | None = None
        self._seen_at = self._looked_at = clock.monotonic()
        self.was_renewed = False

    def note(self, entries: Sequence[LogEntry], *, asked_at: float) -> None:
        """Take in a look at the log.

        Args:
            entries: what is new since the look before, or the last entry alone.
            asked_at: the monotonic time at which the store was asked, up to which nothing else was written.
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
        """How long this observer must go on looking, before it may say that the lease is over."""
        return max(0.0, self._seen_at + self._needed_s - self._clock.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the run's producer is dead, or nobody came to be one."""
        return (
            self._lease is not None
            and ending_of(self._lease) is None
            and self._looked_at - self._seen_at >= self._needed_s
        )

    @property
    def is_long_over(self) -> bool:
        """Whether the lease was over long ago, by the wall clock alone."""
        return self._wall_clock_left_s < -MAX_CLOCK_SKEW.total_seconds()

    @property
    def is_alive(self) -> bool:
        """Whether the producer was seen to be alive, or must be, if the clocks agree.

        The latter only for as long as a renewal may be under way, or nobody is expected yet: a wrong clock
        says so of a dead run for no longer either.
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
        # Of a former version.
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
        """A stop is others' entry, and copies the lease: asking for one does not keep the run alive."""
        if self._lease is None or not isinstance(entry.content, StopAsked):
            return self._lease is None or entry.number > self._lease.number
        return (entry.epoch, entry.leased_until) != (self._lease.epoch, self._lease.leased_until)
