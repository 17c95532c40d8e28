"""The dependencies of a turn: the ports, as one value."""

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
    MessageAnalyser,
    SemanticMemory,
    SummaryBuilder,
    TitleBuilder,
    WorkoutBuilder,
)
from coachstream.conversation.run_store import RunStore
from coachstream.conversation.turn.report import TurnReport

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
        title_builder: None if conversations keep their default title.
        analyser: None if only commands have side effects.
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
    title_builder: TitleBuilder | None = None
    analyser: MessageAnalyser | None = None
    report: TakeReport = ignore_report
    random_below: RandomBelow = secrets.randbelow
