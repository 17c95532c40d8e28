"""What a turn works with: the ports, as one value."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec

from coachstream.conversation.message_id import RandomBelow
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
from coachstream.conversation.report import TurnReport

Report = Callable[[TurnReport], None]
"""Takes the report of a turn that is over; called once."""


def ignore_report(_: TurnReport) -> None:
    """Take no notice of it."""


class TurnParts(msgspec.Struct, frozen=True, kw_only=True):
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
    report: Report = ignore_report
    random_below: RandomBelow = secrets.randbelow
