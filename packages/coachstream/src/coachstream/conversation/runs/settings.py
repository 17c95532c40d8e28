"""The settings of runs."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from coachstream.conversation.quotas import UNLIMITED, QuotaLimits


class TurnPolicy(StrEnum):
    """What happens when a message arrives during the run of another one."""

    ENQUEUE = "enqueue"
    REJECT = "reject"
    INTERRUPT = "interrupt"


DEFAULT_MAX_QUEUED = 3
"""As many as a person sends before looking whether anything comes back."""


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of runs. Durations are in seconds.

    Attributes:
        policy: what happens to a message that arrives during the run of another one, by default.
        max_queued: the maximum number of queued runs of a conversation.
        attended_within_s: how long the first run of the queue waits for a process of its own, until another
            one that waits begins it.
        lease_s: the lease duration: how long a run counts as alive after its lease holder's last entry.
        segment_bytes: the text of a full segment, which is committed at once, in UTF-8 bytes.
        entry_bytes: the maximum text of an entry. What arrives while an entry is written is in the next one,
            so a fast reply is written in fewer entries, which cost less.
        commit_every_s: the minimum interval between two segments that are not full, at the beginning of a
            reply; later it grows with the reply's age.
        renew_every_s: the maximum interval between two entries of a lease holder (the heartbeat). A stop
            request is noticed within this time.
        first_poll_s: the first polling interval of a reader; exponential backoff doubles it while there are
            no new entries.
        longest_poll_s: the upper limit of the polling interval.
        reader_awaited_s: how long a run without a lease holder waits for a reader to claim it.
        epochs: the maximum number of successive lease holders.
        quotas: the limits of users who have none of their own.
    """

    policy: TurnPolicy = TurnPolicy.ENQUEUE
    max_queued: int = DEFAULT_MAX_QUEUED
    attended_within_s: float = 5.0
    lease_s: float = 15.0
    segment_bytes: int = 2048
    entry_bytes: int = 16_384
    commit_every_s: float = 0.4
    renew_every_s: float = 1.0
    first_poll_s: float = 0.15
    longest_poll_s: float = 1.0
    reader_awaited_s: float = 30.0
    epochs: int = 5
    quotas: QuotaLimits = UNLIMITED

    @property
    def renewed_every_s(self) -> float:
        """The heartbeat interval: short enough that a lease survives a failed write."""
        return min(self.renew_every_s, self.lease_s / 3)

    def commit_interval_s(self, age_s: float) -> float:
        """The minimum interval between segments of a reply of that age.

        A long reply is written less often; what a reader can miss stays small compared with what it has.
        """
        return min(max(self.commit_every_s, age_s / 5), self.renewed_every_s)
