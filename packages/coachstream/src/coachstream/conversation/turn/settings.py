"""The settings of turns."""

from __future__ import annotations

import msgspec

from coachstream.conversation.runs.settings import RunSettings
from coachstream.time_zone import DEFAULT_TIME_ZONE


class ContextLimits(msgspec.Struct, frozen=True):
    """Limits on what is loaded for a prompt.

    Attributes:
        messages: the newest messages of the conversation, within the prompt's history budget.
        memories: the things the user asked the coach to remember.
        workouts: the most recently completed workouts.
        matches: results of the semantic search.
        optional_budget_s: seconds after which memories, workouts, matches and a summary that have not arrived
            are left out.
        profile_budget_s: the same for the profile, which has the user's own rule and time zone.
    """

    messages: int = 200
    memories: int = 10
    workouts: int = 14
    matches: int = 6
    optional_budget_s: float = 1.5
    profile_budget_s: float = 3.0


class TurnSettings(msgspec.Struct, frozen=True):
    """The settings of turns. Durations are in seconds.

    Attributes:
        history_budget_chars: the maximum number of characters of history in the prompt.
        save_reserve_s: time reserved for saving: the model is stopped this long before the deadline. Also the
            upper limit of any save.
        follow_ups_within_s: how long the end of a turn waits for its follow-ups.
        analysis_budget_s: how long after its beginning the end of a turn may wait for the message analysis.
        contextual_events: whether a stream has `Contextual` events.
        time_zone: the name of the zone of users whose client and profile do not tell theirs.
        limits: limits on what is loaded for the prompt.
        runs: the settings of runs.
    """

    history_budget_chars: int = 60_000
    save_reserve_s: float = 3.0
    follow_ups_within_s: float = 2.0
    analysis_budget_s: float = 1.5
    contextual_events: bool = True
    time_zone: str = DEFAULT_TIME_ZONE
    limits: ContextLimits = ContextLimits()
    runs: RunSettings = RunSettings()
