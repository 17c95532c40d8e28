"""What a turn works with: the ports, as one value, and the settings."""

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

TakeReport = Callable[[TurnReport], None]
"""Takes the report of a turn that is over; called once."""


def ignore_report(_: TurnReport) -> None:
    """Take no notice of it."""


class TurnDependencies(msgspec.Struct, frozen=True, kw_only=True):
    """The adapters that a turn works with.

    Attributes:
        fallback_model: who goes on where the model breaks off; the model itself, if None.
        recall: None where there is no semantic memory.
        workout_builder: None where workouts are not handed off.
        summary_builder: None where conversations are not summarized.
        report: told when the turn is over.
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
