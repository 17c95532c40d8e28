"""The dependencies of a turn: the ports, as one value, and the settings."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec

from coachstream.conversation.ids import RandomBelow
from coachstream.conversation.ports import (
    ChatModel,
    Clock,
    ContextStore,
    ConversationStore,
    MemoryStore,
    RunStore,
    SemanticMemory,
    SummaryBuilder,
    WorkoutBuilder,
)
from coachstream.conversation.runs.settings import RunSettings
from coachstream.conversation.turn.context import ContextLimits
from coachstream.conversation.turn.report import TurnReport
from coachstream.time_zone import DEFAULT_TIME_ZONE

TakeReport = Callable[[TurnReport], None]
"""Receives the report of a finished turn; called once."""


def ignore_report(_: TurnReport) -> None:
    """Ignore the report."""


class TurnDependencies(msgspec.Struct, frozen=True, kw_only=True):
    """The adapters that a turn uses.

    Attributes:
        fallback_model: the model that continues if the first one fails; the same model, if None.
        recall: None if there is no semantic search backend.
        workout_builder: None if workouts are not handed off.
        summary_builder: None if conversations are not summarized.
        report: receives the report when the turn is over.
    """

    runs: RunStore
    context: ContextStore
    conversations: ConversationStore
    memories: MemoryStore
    model: ChatModel
    recall: SemanticMemory | None
    clock: Clock
    fallback_model: ChatModel | None = None
    workout_builder: WorkoutBuilder | None = None
    summary_builder: SummaryBuilder | None = None
    report: TakeReport = ignore_report
    random_below: RandomBelow = secrets.randbelow


class TurnSettings(msgspec.Struct, frozen=True):
    """The settings of turns. Durations are in seconds.

    Attributes:
        history_budget_chars: the maximum number of characters of history in the prompt.
        save_reserve_s: time reserved for saving: the model is stopped this long before the deadline. Also the
            upper limit of any save.
        follow_ups_within_s: how long the end of a turn waits for its follow-ups.
        time_zone: the name of the zone of users whose client and profile do not tell theirs.
        limits: limits on what is loaded for the prompt.
        runs: the settings of runs.
    """

    history_budget_chars: int = 60_000
    save_reserve_s: float = 3.0
    follow_ups_within_s: float = 2.0
    time_zone: str = DEFAULT_TIME_ZONE
    limits: ContextLimits = ContextLimits()
    runs: RunSettings = RunSettings()
