"""What can be tuned of a turn."""

from __future__ import annotations

import msgspec

from coachstream.conversation.context import ContextLimits
from coachstream.conversation.runs.settings import RunSettings


class TurnSettings(msgspec.Struct, frozen=True):
    """Durations are in seconds.

    Attributes:
        history_budget_chars: how many characters of history the prompt holds.
        save_reserve_s: before the deadline, when the model is stopped, for saving; no save takes longer,
            however far the deadline is.
        follow_ups_within_s: how long the end of a turn waits for what it set off.
        limits: of what is loaded for the prompt.
        runs: how runs are kept.
    """

    history_budget_chars: int = 60_000
    save_reserve_s: float = 3.0
    follow_ups_within_s: float = 2.0
    limits: ContextLimits = ContextLimits()
    runs: RunSettings = RunSettings()
