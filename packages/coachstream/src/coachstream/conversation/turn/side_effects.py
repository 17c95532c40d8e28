"""The side effects of a turn (existing system, section 8), each at its own time.

A requested memory is saved before the reply begins, because the reply begins with its confirmation. If a
content filter blocks the message, the memory is deleted. The rest are follow-ups: memories are counted as
used after the first text is sent. After the reply is stored, a workout is handed off, a summary is requested,
and a new memory is indexed for semantic search.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from datetime import datetime

from coachstream.conversation.errors import (
    CoachStreamError,
    StorageUnavailable,
    describe_exception,
    log_failure,
)
from coachstream.conversation.model import Memory
from coachstream.conversation.ports import (
    SummaryBuilder,
    SummaryReason,
    SummaryRequest,
    WorkoutLog,
)
from coachstream.conversation.prompt.coach import CoachConfig
from coachstream.conversation.runs.claim import RunClaim
from coachstream.conversation.turn.commands import CommandName, parse_command
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.save_memory import confirmations, requested_memory, save_and_confirm, saved
from coachstream.time_zone import DEFAULT_TIME_ZONE

logger = logging.getLogger("coachstream.turn")

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


class SideEffects:
    """The side effects of one turn, all dated with its single clock value.

    Attributes:
        time_zone: the IANA name of the user's time zone, once it is known.
    """

    def __init__(self, claim: RunClaim, dependencies: TurnDependencies, *, now: datetime) -> None:
        self._claim = claim
        self._key = claim.key
        self._dependencies = dependencies
        self._now = now
        self._command = parse_command(claim.user_message.content)
        self._memory = self._requested_memory()
        self._is_memory_saved = False
        self._follow_ups = FollowUps()
        self.time_zone = DEFAULT_TIME_ZONE

    @property
    def constraints(self) -> tuple[str, ...]:
        """Constraints for the prompt, so that the model neither repeats nor contradicts the application."""
        return () if self._command is None else (_CONSTRAINTS[self._command.name],)

    async def confirm(self) -> str:
        """Save the requested memory and return the confirmation for the user; empty if there is none."""
        if self._memory is None:
            return ""
        confirmation = await save_and_confirm(self._key.user_id, self._memory, self._dependencies.memories)
        self._is_memory_saved = confirmation == saved(self._memory)
        return confirmation

    def confirmation_in(self, said: str) -> str:
        """The confirmation with which an earlier lease holder began the reply; empty if there is none."""
        if self._memory is None:
            return ""
        self._is_memory_saved = said.startswith(saved(self._memory))
        return next((each for each in confirmations(self._memory) if said.startswith(each)), "")

    async def withdraw(self) -> None:
        """Undo the side effects of a message that a content filter blocked; never raises.

        The memory may be from an earlier attempt: its id is derived from the message's id in any case.
        """
        if self._memory is None:
            return
        try:
            try:
                await self._dependencies.memories.delete_memory(self._key.user_id, self._memory.id)
            except StorageUnavailable:
                await self._dependencies.memories.delete_memory(self._key.user_id, self._memory.id)
        except CoachStreamError as error:
            logger.error("The memory of a blocked message could not be deleted: %s", error.code.value)  # noqa: TRY400

    def follow_reply(self, coach: CoachConfig | None) -> None:
        """Start the follow-ups of a stored reply; a blocked message has none.

        A message has only one stored reply, so a retry logs no workout twice.
        """
        workout_builder, summary_builder = (
            self._dependencies.workout_builder,
            self._dependencies.summary_builder,
        )
        workout = None if coach is None else self._workout(coach)
        if workout_builder is not None and workout is not None:
            self._follow_ups.start("workout hand-off", workout_builder.build(workout))
        if summary_builder is not None:
            added = 2 if self._claim.is_first_attempt else 1
            self._follow_ups.start("summary trigger", self._summarize(summary_builder, added))
        if self._dependencies.recall is not None and self._memory is not None and self._is_memory_saved:
            remembering = self._dependencies.recall.remember(self._key.user_id, self._memory)
            self._follow_ups.start("semantic memory", remembering)

    def count_memories(self, memories: Sequence[Memory]) -> None:
        """Count one use of each memory in a prompt."""
        used = [memory.id for memory in memories if memory.id]
        if used:
            counting = self._dependencies.memories.note_memories_used(self._key.user_id, used, at=self._now)
            self._follow_ups.start("memory counters", counting)

    async def finish(self, *, within_s: float) -> tuple[str, ...]:
        """Wait for all follow-ups and return the names of those that have failed, including earlier ones."""
        return await self._follow_ups.finish(within_s=within_s)

    def _requested_memory(self) -> Memory | None:
        command = self._command
        if command is None or command.name is not CommandName.SAVE_MEMORY:
            return None
        return requested_memory(self._key.user_id, self._claim.user_message, command.content, at=self._now)

    def _workout(self, coach: CoachConfig) -> WorkoutLog | None:
        command, message = self._command, self._claim.user_message
        if command is None or command.name is not CommandName.LOG_WORKOUT:
            return None
        return WorkoutLog(
            key=self._key,
            text=command.content or message.content,
            coach=coach,
            command=command.name,
            sent_at=message.timestamp,
            time_zone=self.time_zone,
        )

    async def _summarize(self, builder: SummaryBuilder, added: int) -> None:
        """Request a summary if this turn's messages reached or passed a multiple of six."""
        count = (await self._dependencies.conversations.get_conversation(self._key)).total_messages
        if count // SUMMARY_EVERY_MESSAGES > (count - added) // SUMMARY_EVERY_MESSAGES:
            await builder.build(SummaryRequest(self._key, SummaryReason.MESSAGE_COUNT, count))


class FollowUps:
    """The follow-ups of one turn, by name."""

    def __init__(self) -> None:
        self._failed: tuple[str, ...] = ()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[object, object, None]) -> None:
        """Start a follow-up."""
        self._tasks[name] = asyncio.create_task(work, name=name)

    async def finish(self, *, within_s: float) -> tuple[str, ...]:
        """Wait for all follow-ups, and cancel those that exceed the time limit.

        Returns:
            The names of those that failed, including in earlier calls.
        """
        tasks, self._tasks = self._tasks, {}
        if not tasks:
            return self._failed
        await asyncio.wait(tasks.values(), timeout=max(0.0, within_s))
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        self._failed += tuple(name for name, task in tasks.items() if not _succeeded(name, task))
        return self._failed


def _succeeded(name: str, task: asyncio.Task[None]) -> bool:
    if task.cancelled():
        logger.warning("The %s took too long and was cancelled", name)
        return False
    error = task.exception()
    if error is None:
        return True
    if isinstance(error, CoachStreamError):
        log_failure(logger, f"The {name} failed", error, level=logging.WARNING)
    else:
        logger.warning("The %s failed: %s", name, describe_exception(error))
    return False
