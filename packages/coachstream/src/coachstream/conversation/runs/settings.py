"""What can be tuned of runs."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class TurnPolicy(StrEnum):
    """What a message does to a run that answers another one."""

    REJECT = "reject"
    INTERRUPT = "interrupt"


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations are in seconds.

    Attributes:
        policy: what a message does that comes while another one is answered.
        lease_s: lease duration: how long a run counts as alive after its producer has last written.
        segment_bytes: most text of an entry, in UTF-8.
        commit_every_s: at least between two segments that are not full.
        renew_every_s: at most between two entries of a producer that has nothing to say. A stop is noticed
            as fast.
        first_poll_s: before a reader looks for news again; twice as long each time that there are none.
        longest_poll_s: that this grows to.
        reader_awaited_s: how long a run that nobody produces is kept for the reader who will.
        epochs: producers one after another, at most.
    """

    policy: TurnPolicy = TurnPolicy.REJECT
    lease_s: float = 15.0
    segment_bytes: int = 2048
    commit_every_s: float = 0.4
    renew_every_s: float = 0.8
    first_poll_s: float = 0.15
    longest_poll_s: float = 1.0
    reader_awaited_s: float = 30.0
    epochs: int = 5

    @property
    def renewed_every_s(self) -> float:
        """The time between two entries of a producer: often enough that a lease survives a failed write."""
        return min(self.renew_every_s, self.lease_s / 3)
