"""The side effects of a turn (existing system, section 8), each at its own time, each once for a message.

A memory that is requested by command is saved before the reply begins, because the reply begins with its
confirmation; one that is requested in plain words, as soon as the analysis finds it. Its id is derived from
the message's, so that saving it again adds nothing. If a content filter blocks the message, the memory is
deleted.

A workout is handed off once the model has replied, so never that of a blocked message, and before the reply
is stored. If the process dies in between, the message has no reply, and the process that replies to it hands
off the workout. The message is marked after the hand-off, so that no one does so again. If the process dies
between these two steps, the builder is called twice, with the same message id and time.

Another try at an exchange does none of this twice: a reply that is regenerated or continued belongs to the
same message. A message that replaces another one is marked as handed off if that one was, and a memory that
both request is saved as that of the new one.

The rest are follow-ups: memories are counted as used after the first text is sent; after the reply is
stored, a summary and a title are requested, and a new memory is indexed for semantic search.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from datetime import datetime

import msgspec

from coachstream.conversation.analysis import MemoryTraits, MessageAnalysis, quotation_from
from coachstream.conversation.another_try import TryKind
from coachstream.conversation.errors import (
    CoachStreamError,
    StorageUnavailable,
    describe_exception,
    log_failure,
)
from coachstream.conversation.events import Send, Stage
from coachstream.conversation.model import Conversation, Memory, MemorySource
from coachstream.conversation.ports import SummaryBuilder, TitleBuilder, WorkoutBuilder, WorkoutLog
from coachstream.conversation.prompt.coach import CoachConfig
from coachstream.conversation.prompt.history import PARAGRAPH
from coachstream.conversation.runs.claim import RunClaim
from coachstream.conversation.turn.analysis import PendingAnalysis
from coachstream.conversation.turn.commands import CommandName, is_command, parse_command
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.notices import notice
from coachstream.conversation.turn.post_turn import due_summary, due_title
from coachstream.conversation.turn.save_memory import (
    NOT_SAVED,
    USAGE,
    confirmations,
    memory_id,
    memory_id_of,
    requested_memory,
    save,
    saved,
)
from coachstream.time_zone import DEFAULT_TIME_ZONE

logger = logging.getLogger("coachstream.turn")

ANALYSIS = "message analysis"

_MEMORY = "memory"

_MEMORY_BY_COMMAND = (
    "The user asked by command to have something remembered. The application has dealt with that, and "
    "the words before yours say so. Take the wish up in a sentence or two; do not confirm it again."
)
_MEMORY_SAVED = (
    "The user asks to have something remembered. The application has saved it and tells them so itself. Take "
    "the wish up in a sentence; do not confirm it again."
)
_MEMORY_UNDER_WAY = (
    "The user asks to have something remembered. The application deals with that, and tells them itself "
    "whether it has worked. Take the wish up in a sentence; do not confirm it."
)
_WORKOUT = (
    "The user reports a workout. The application sends it to their training log after your reply, so do not "
    "say that it is logged. Respond to the training itself, as their coach."
)
_NO_TRAINING_LOG = (
    "The user logs a workout by command. The application has no training log, so do not say that it is "
    "logged. Respond to the training itself, as their coach."
)
_WORKOUT_HANDED_OFF = (
    "The user reports a workout. The application has sent it to their training log. Respond to the training "
    "itself, as their coach."
)


class SideEffects:
    """The side effects of one turn, all dated with its single clock value.

    Args:
        claim: the claim on the run.
        dependencies: the adapters.
        now: the turn's single clock value.
        tell: takes `Contextual` events for the reader; None if it gets none. Then the end of the reply says
            what became of a memory, and that a workout could not be handed off.

    Attributes:
        time_zone: the IANA name of the user's time zone, once it is known.
    """

    def __init__(
        self, claim: RunClaim, dependencies: TurnDependencies, *, now: datetime, tell: Send | None
    ) -> None:
        self._claim = claim
        self._key = claim.key
        self._dependencies = dependencies
        self._now = now
        self._tell_reader = tell
        self._command = parse_command(claim.user_message.content)
        self._analysis: PendingAnalysis | None = None
        self._memory: Memory | None = None
        self._is_memory_saved = False
        self._has_traits = False
        self._is_stopped = False
        self._untold: list[str] = []
        self._follow_ups = FollowUps()
        self.time_zone = DEFAULT_TIME_ZONE

    def begin(self, analysis: PendingAnalysis) -> None:
        """Save the memory that the analysis finds, as soon as it arrives."""
        self._analysis = analysis
        analysis.when_arrived(self._take_up)

    def constraints(self) -> tuple[str, ...]:
        """Constraints for the prompt, so that the model neither repeats nor contradicts the application.

        They say what has been done so far, and claim nothing else.
        """
        return tuple(self._constraints())

    def _constraints(self) -> Iterator[str]:
        if self._is_memory_command:
            yield _MEMORY_BY_COMMAND
        elif self._memory is not None:
            yield _MEMORY_SAVED if self._is_memory_saved else _MEMORY_UNDER_WAY
        if self._claim.user_message.metadata.is_handed_off and (
            self._replaced_id is None or self._reports_workout
        ):
            yield _WORKOUT_HANDED_OFF
        elif self._dependencies.workout_builder is not None and self._reports_workout:
            yield _WORKOUT
        elif self._command is not None and self._command.name is CommandName.LOG_WORKOUT:
            yield _NO_TRAINING_LOG

    async def confirm(self) -> str:
        """Save the memory requested by command, and return the confirmation; empty if there is none."""
        content = self._memory_command
        if content is None:
            return ""
        if not content:
            return USAGE
        self._memory = self._commanded_memory(content)
        self._is_memory_saved = await save(self._key.user_id, self._memory, self._dependencies.memories)
        return saved(content) if self._is_memory_saved else NOT_SAVED

    def confirmation_in(self, said: str) -> str:
        """The confirmation with which an earlier lease holder began the reply; empty if there is none."""
        content = self._memory_command
        if content is None:
            return ""
        if content:
            self._memory = self._commanded_memory(content)
            self._is_memory_saved = said.startswith(saved(content))
        return next((each for each in confirmations(content) if said.startswith(each)), "")

    async def settle(self, coach: CoachConfig | None, *, longest_s: float, within_s: float) -> str:
        """Do what must be done before the reply is stored; a blocked message does not get here.

        Args:
            coach: the coach, if loaded.
            longest_s: how long the analysis may be waited for, if its budget allows that.
            within_s: how long memory and hand-off may be waited for.

        Returns:
            What the end of the reply must say, because the reader gets no `Contextual` events.
        """
        if self._analysis is not None:
            await self._analysis.wait(longest_s=longest_s)
            await asyncio.sleep(0)  # for `_take_up`
            if self._verdict is None and not self._analysis.is_off:
                self._follow_ups.note_failure(ANALYSIS)
        self.stop()
        analysis = self._verdict
        memory, builder = self._memory, self._dependencies.workout_builder
        if memory is not None and self._is_memory_saved and analysis is not None and not self._has_traits:
            self._memory = memory = _with(memory, analysis.traits, self._key.coach_id)
            refining = self._dependencies.memories.change_memory_traits(self._key.user_id, memory)
            self._follow_ups.start("memory traits", refining)
        workout = None if coach is None else self._workout(coach)
        if builder is not None and workout is not None:
            self._follow_ups.start("workout hand-off", self._hand_off(builder, workout))
        await self._follow_ups.wait(within_s=within_s)
        return PARAGRAPH.join(self._untold)

    def stop(self) -> None:
        """Give up an analysis that has not arrived, and take up none any more."""
        self._is_stopped = True
        if self._analysis is not None:
            self._analysis.cancel()

    async def withdraw(self) -> None:
        """Undo the side effects of a message that a content filter blocked; never raises.

        The memory may be from an earlier attempt: its id is derived from the message's id in any case.
        """
        self.stop()
        await self._follow_ups.wait(_MEMORY)
        is_analysed = self._analysis is not None and not self._analysis.is_off
        if not (self._memory_command or (is_analysed and not is_command(self._claim.user_message.content))):
            return
        memory = memory_id(self._key.user_id, self._claim.user_message)
        try:
            try:
                await self._dependencies.memories.delete_memory(self._key.user_id, memory)
            except StorageUnavailable:
                await self._dependencies.memories.delete_memory(self._key.user_id, memory)
        except CoachStreamError as error:
            logger.error("The memory of a blocked message could not be deleted: %s", error.code.value)  # noqa: TRY400
            return
        if self._is_memory_saved and not self._is_memory_command:
            await self._tell(Stage.MEMORY_WITHDRAWN)
        self._is_memory_saved = False

    def follow_reply(self) -> None:
        """Start the follow-ups of a stored reply; a blocked message has none."""
        summary_builder, recall = self._dependencies.summary_builder, self._dependencies.recall
        title_builder = self._dependencies.title_builder
        if summary_builder is not None or title_builder is not None:
            reading = asyncio.create_task(self._dependencies.conversations.get_conversation(self._key))
            if summary_builder is not None:
                self._follow_ups.start("summary trigger", self._summarize(summary_builder, reading))
            if title_builder is not None:
                self._follow_ups.start("title trigger", _request_title(title_builder, reading))
        if self._replaced_id is not None and self._memory is not None and self._is_memory_saved:
            older = memory_id_of(self._key.user_id, self._replaced_id)
            deletion = self._dependencies.memories.delete_memory(self._key.user_id, older)
            self._follow_ups.start("replaced memory", deletion)
        if recall is not None and self._memory is not None and self._is_memory_saved:
            self._follow_ups.start("semantic memory", recall.remember(self._key.user_id, self._memory))

    def count_memories(self, memories: Sequence[Memory]) -> None:
        """Count one use of each memory in a prompt."""
        used = [memory.id for memory in memories if memory.id]
        if used:
            counting = self._dependencies.memories.note_memories_used(self._key.user_id, used, at=self._now)
            self._follow_ups.start("memory counters", counting)

    async def finish(self, *, within_s: float) -> tuple[str, ...]:
        """Wait for all follow-ups and return the names of those that have failed, including earlier ones."""
        return await self._follow_ups.finish(within_s=within_s)

    @property
    def _replaced_id(self) -> str | None:
        """The id of the message that this one replaces; None if it replaces none."""
        another_try = self._claim.another_try
        is_edit = another_try is not None and another_try.kind is TryKind.REPLACE
        return another_try.user_message_id if another_try is not None and is_edit else None

    @property
    def _verdict(self) -> MessageAnalysis | None:
        """The analysis, if it is there."""
        return None if self._analysis is None else self._analysis.arrived

    @property
    def _language(self) -> str:
        return "" if self._verdict is None else self._verdict.language

    @property
    def _is_memory_command(self) -> bool:
        return self._memory_command is not None

    @property
    def _memory_command(self) -> str | None:
        """What is to be remembered by command; None without the command."""
        command = self._command
        return command.content if command is not None and command.name is CommandName.SAVE_MEMORY else None

    @property
    def _reports_workout(self) -> bool:
        if is_command(self._claim.user_message.content):
            return self._command is not None and self._command.name is CommandName.LOG_WORKOUT
        return self._verdict is not None and self._verdict.reports_workout

    def _commanded_memory(self, content: str) -> Memory:
        verdict = self._verdict
        self._has_traits = verdict is not None
        return requested_memory(
            self._key,
            self._claim.user_message,
            content,
            MemoryTraits() if verdict is None else verdict.traits,
            MemorySource.EXPLICIT_REQUEST,
            at=self._now,
        )

    def _take_up(self, analysis: MessageAnalysis) -> None:
        message = self._claim.user_message
        if self._is_stopped or not analysis.requests_memory or is_command(message.content):
            return
        self._has_traits = True
        self._memory = requested_memory(
            self._key,
            message,
            quotation_from(message.content, analysis.memory_text),
            analysis.traits,
            MemorySource.CONVERSATION,
            at=self._now,
        )
        self._follow_ups.start(_MEMORY, self._save(self._memory))

    async def _save(self, memory: Memory) -> None:
        self._is_memory_saved = await save(self._key.user_id, memory, self._dependencies.memories)
        if self._tell_reader is None:
            self._untold.append(saved(memory.content) if self._is_memory_saved else NOT_SAVED)
        stage = Stage.MEMORY_SAVED if self._is_memory_saved else Stage.MEMORY_NOT_SAVED
        await self._tell(stage, memory=memory.content)

    def _workout(self, coach: CoachConfig) -> WorkoutLog | None:
        command, message = self._command, self._claim.user_message
        if message.metadata.is_handed_off or not self._reports_workout:
            return None
        return WorkoutLog(
            key=self._key,
            message_id=message.id,
            text=message.content if command is None else command.content or message.content,
            coach=coach,
            command=None if command is None else command.name.value,
            sent_at=message.timestamp,
            time_zone=self.time_zone,
        )

    async def _hand_off(self, builder: WorkoutBuilder, workout: WorkoutLog) -> None:
        try:
            await builder.build(workout)
        except Exception:
            if self._tell_reader is None:
                self._untold.append(notice(Stage.WORKOUT_NOT_HANDED_OFF, self._language).content)
            await self._tell(Stage.WORKOUT_NOT_HANDED_OFF)
            raise
        try:
            await self._dependencies.runs.mark_handed_off(self._key, workout.message_id)
        finally:
            await self._tell(Stage.WORKOUT_HANDED_OFF)

    async def _summarize(self, builder: SummaryBuilder, reading: Awaitable[Conversation]) -> None:
        request = due_summary(
            await reading,
            # After another try, what its exchange was due for is due again, of the version chosen now.
            added_messages=2 if self._claim.is_first_attempt or self._claim.another_try is not None else 1,
            is_complex=self._verdict is not None and self._verdict.is_complex,
        )
        if request is not None:
            await builder.build(request)

    async def _tell(self, stage: Stage, *, memory: str = "") -> None:
        if self._tell_reader is not None:
            await self._tell_reader(notice(stage, self._language, memory=memory))


async def _request_title(builder: TitleBuilder, reading: Awaitable[Conversation]) -> None:
    request = due_title(await reading)
    if request is not None:
        await builder.build(request)


class FollowUps:
    """The follow-ups of one turn, by name."""

    def __init__(self) -> None:
        self._failed: tuple[str, ...] = ()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[object, object, None]) -> None:
        """Start a follow-up."""
        self._tasks[name] = asyncio.create_task(work, name=name)

    def note_failure(self, name: str) -> None:
        """Count something that was started elsewhere among those that failed."""
        if name not in self._failed:
            self._failed += (name,)

    async def wait(self, name: str | None = None, *, within_s: float | None = None) -> None:
        """Wait for those started so far, or for one; leave those running that exceed the time limit."""
        tasks = [task for each, task in self._tasks.items() if name in {None, each}]
        if tasks:
            await asyncio.wait(tasks, timeout=None if within_s is None else max(0.0, within_s))

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


def _with(memory: Memory, traits: MemoryTraits, coach_id: str) -> Memory:
    return msgspec.structs.replace(
        memory,
        memory_type=traits.memory_type,
        importance=traits.importance,
        coach_id=coach_id if traits.is_coach_specific else None,
        tags=traits.tags,
    )


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
