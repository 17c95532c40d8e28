"""What a turn does beside answering (existing system, section 8), each thing at its own moment.

A memory that is asked for is saved before the reply begins, because the reply begins with its confirmation.
The rest are follow-ups: a workout is handed off before the model is called, memories are counted as used once
the first text is out, a summary is asked for when the reply is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from coachstream.conversation.coach import CoachConfig
from coachstream.conversation.commands import Command, CommandName
from coachstream.conversation.follow_ups import FollowUps
from coachstream.conversation.memories import confirmations, requested_memory, save_and_confirm
from coachstream.conversation.model import Memory
from coachstream.conversation.parts import TurnParts
from coachstream.conversation.ports import (
    SummaryBuilder,
    SummaryReason,
    SummaryRequest,
    WorkoutLog,
)
from coachstream.conversation.runs.claim import RunClaim

SUMMARY_EVERY_MESSAGES = 6

_CONSTRAINTS = {
    CommandName.SAVE_MEMORY: (
        "The user asked by command to have something remembered. The application has dealt with that, and "
        "the words before yours say so. Take the wish up in a sentence or two; do not confirm it again."
    ),
    CommandName.LOG_WORKOUT: (
        "The user logs a workout by command. The application records it; it will be in their training log in "
        "a moment. Respond to the training itself, as their coach."
    ),
}


def constraints_of(command: Command | None) -> tuple[str, ...]:
    """What the model is told of a command, so that it neither repeats nor contradicts the application."""
    return () if command is None else (_CONSTRAINTS[command.name],)


class SideEffects:
    """The side effects of one turn, all dated with its one clock value."""

    def __init__(self, claim: RunClaim, parts: TurnParts, *, now: datetime) -> None:
        self._claim = claim
        self._key = claim.key
        self._parts = parts
        self._now = now
        self._follow_ups = FollowUps()

    async def confirm(self, command: Command | None) -> str:
        """Save what is to be remembered, and return what the user is told of it; empty where nothing is."""
        memory = self._requested_memory(command)
        if memory is None:
            return ""
        return await save_and_confirm(self._key.user_id, memory, self._parts.memories, self._parts.recall)

    def confirmation_in(self, said: str, command: Command | None) -> str:
        """The confirmation that an earlier producer began the reply with; empty where it did not."""
        memory = self._requested_memory(command)
        possible = () if memory is None else confirmations(memory)
        return next((confirmation for confirmation in possible if said.startswith(confirmation)), "")

    def hand_off_workout(self, command: Command | None, coach: CoachConfig) -> None:
        """Hand off a workout once for each message: a second attempt would log it twice."""
        builder = self._parts.workout_builder
        if builder is None or command is None or command.name is not CommandName.LOG_WORKOUT:
            return
        if self._claim.is_first_attempt:
            workout = WorkoutLog(
                key=self._key,
                text=command.content or self._claim.user_message.content,
                coach=coach,
                command=command.name,
                sent_at=self._claim.user_message.timestamp,
            )
            self._follow_ups.start("workout hand-off", builder.build(workout))

    def count_memories(self, memories: Sequence[Memory]) -> None:
        """Count that these memories were in a prompt."""
        used = [memory.id for memory in memories if memory.id]
        if used:
            counting = self._parts.memories.note_memories_used(self._key.user_id, used, at=self._now)
            self._follow_ups.start("memory counters", counting)

    def trigger_summary(self) -> None:
        """Ask for a summary if it is time; the turn's messages are stored."""
        builder = self._parts.summary_builder
        if builder is not None:
            added = 2 if self._claim.is_first_attempt else 1
            self._follow_ups.start("summary trigger", self._summarize(builder, added))

    async def finish(self, *, within_s: float) -> tuple[str, ...]:
        """Wait for all follow-ups, and return the names of those that did not succeed, now or before."""
        return await self._follow_ups.finish(within_s=within_s)

    def _requested_memory(self, command: Command | None) -> Memory | None:
        if command is None or command.name is not CommandName.SAVE_MEMORY:
            return None
        return requested_memory(self._key.user_id, self._claim.user_message, command.content, at=self._now)

    async def _summarize(self, builder: SummaryBuilder, added: int) -> None:
        """Due when this turn's messages have made the next six full, also by passing them."""
        count = (await self._parts.conversations.get_conversation(self._key)).total_messages
        if count // SUMMARY_EVERY_MESSAGES > (count - added) // SUMMARY_EVERY_MESSAGES:
            await builder.build(SummaryRequest(self._key, SummaryReason.MESSAGE_COUNT, count))
