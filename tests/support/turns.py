"""A conversation in memory, ready for turns; a test can make its store fail or wait."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from coachstream.conversation.analysis import MessageAnalysis
from coachstream.conversation.another_try import AnotherTry
from coachstream.conversation.events import Event
from coachstream.conversation.model import (
    Conversation,
    ConversationKey,
    Importance,
    Match,
    Memory,
    Message,
    StopReason,
    Workout,
)
from coachstream.conversation.ports import SummaryRequest, TitleRequest, WorkoutLog
from coachstream.conversation.prompt.coach import CoachConfig
from coachstream.conversation.prompt.prompt import PromptMessage
from coachstream.conversation.prompt.summary import SummaryContent
from coachstream.conversation.prompt.user import ConversationSummary, UserProfile
from coachstream.conversation.quotas import UNLIMITED, QuotaLimits, QuotaUse, Spent
from coachstream.conversation.run_log import LogEntry
from coachstream.conversation.run_store import AlreadyAnswered, ConversationBusy, RunBegun
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.report import TurnReport
from coachstream.conversation.turn.request import TurnRequest
from coachstream.conversation.turn.settings import ContextLimits, TurnSettings
from coachstream.conversation.turn.turn import run_turn
from support.doubles import RememberedConversations, ScriptedModel

T = TypeVar("T")

KEY = ConversationKey("user-1", "coach-1", "conv-1")
NOW = datetime(2026, 11, 23, 10, 0, 0, 123_000, tzinfo=UTC)


class FixedDate:
    """A clock whose date stands still, so that tests can expect it; durations are the event loop's."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


class Later(FixedDate):
    """A clock that is a given number of seconds ahead."""

    def __init__(self, ahead_s: float) -> None:
        self.ahead_s = ahead_s

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.ahead_s + 1)


class TurnStoreDouble(RememberedConversations):
    """A store whose steps can be made to fail (`failures`) or to wait (`gates`) by their method's name.

    `reached` is set while a step is in progress.
    """

    def __init__(self) -> None:
        super().__init__((KEY.user_id, KEY.coach_id))
        self.conversations[KEY] = Conversation(KEY, "A talk", NOW, NOW)
        self.messages[KEY] = []
        self.failures: dict[str, list[Exception]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.reached: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.steps: list[str] = []
        self.memories: list[Memory] = []
        self.workouts: list[Workout] = []

    async def _step(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        self.steps.append(name)
        self.reached[name].set()
        if name in self.gates:
            await self.gates[name].wait()
        if self.failures.get(name):
            raise self.failures[name].pop(0)
        return await work()

    async def begin_run(
        self,
        key: ConversationKey,
        user_message: Message,
        run_id: str,
        opened: LogEntry,
        quotas: QuotaLimits = UNLIMITED,
    ) -> RunBegun | AlreadyAnswered | ConversationBusy:
        work = super().begin_run
        return await self._step("begin_run", lambda: work(key, user_message, run_id, opened, quotas))

    async def save_waiting_message(
        self, key: ConversationKey, user_message: Message, run_id: str
    ) -> Message | None:
        work = super().save_waiting_message
        return await self._step("save_waiting_message", lambda: work(key, user_message, run_id))

    async def leave_queue(
        self, key: ConversationKey, run_id: str, ended: LogEntry, *, is_withdrawn: bool
    ) -> bool:
        work = super().leave_queue
        return await self._step("leave_queue", lambda: work(key, run_id, ended, is_withdrawn=is_withdrawn))

    async def append(self, key: ConversationKey, run_id: str, entry: LogEntry) -> LogEntry | None:
        work = super().append
        return await self._step("append", lambda: work(key, run_id, entry))

    async def finish_run(
        self,
        key: ConversationKey,
        run_id: str,
        ended: LogEntry,
        reply: Message | None,
        spent: Spent | None = None,
        another_try: AnotherTry | None = None,
    ) -> LogEntry | None:
        work = super().finish_run
        return await self._step("finish_run", lambda: work(key, run_id, ended, reply, spent, another_try))

    async def quota_use(self, user_id: str, limits: QuotaLimits, *, at: int) -> QuotaUse:
        work = super().quota_use
        return await self._step("quota_use", lambda: work(user_id, limits, at=at))

    async def read_log(self, key: ConversationKey, run_id: str, *, after: int = -1) -> Sequence[LogEntry]:
        work = super().read_log
        return await self._step("read_log", lambda: work(key, run_id, after=after))

    async def load_coach(self, user_id: str, coach_id: str) -> CoachConfig:
        work = super().load_coach
        return await self._step("load_coach", lambda: work(user_id, coach_id))

    async def load_history(self, key: ConversationKey, *, limit: int, budget_chars: int) -> Sequence[Message]:
        work = super().load_history
        return await self._step("load_history", lambda: work(key, limit=limit, budget_chars=budget_chars))

    async def save_memory(self, user_id: str, memory: Memory) -> None:
        work = super().save_memory
        await self._step("save_memory", lambda: work(user_id, memory))

    async def change_memory_traits(self, user_id: str, memory: Memory) -> None:
        work = super().change_memory_traits
        await self._step("change_memory_traits", lambda: work(user_id, memory))

    async def mark_handed_off(self, key: ConversationKey, message_id: str) -> None:
        work = super().mark_handed_off
        await self._step("mark_handed_off", lambda: work(key, message_id))

    async def delete_memory(self, user_id: str, memory_id: str) -> None:
        work = super().delete_memory
        await self._step("delete_memory", lambda: work(user_id, memory_id))

    async def note_memories_used(self, user_id: str, memory_ids: Sequence[str], *, at: datetime) -> None:
        work = super().note_memories_used
        await self._step("note_memories_used", lambda: work(user_id, memory_ids, at=at))

    async def load_memories(self, _user_id: str, _coach_id: str, *, limit: int) -> Sequence[Memory]:
        async def work() -> Sequence[Memory]:
            return self.memories[:limit]

        return await self._step("load_memories", work)

    async def load_recent_workouts(self, _user_id: str, *, limit: int) -> Sequence[Workout]:
        async def work() -> Sequence[Workout]:
            return self.workouts[:limit]

        return await self._step("load_recent_workouts", work)

    async def load_profile(self, user_id: str) -> UserProfile:
        work = super().load_profile
        return await self._step("load_profile", lambda: work(user_id))

    async def load_summary(self, key: ConversationKey) -> ConversationSummary:
        work = super().load_summary
        return await self._step("load_summary", lambda: work(key))


class RecallDouble:
    """Finds the given records; waits or fails on demand."""

    def __init__(self, *matches: Match) -> None:
        self.matches = matches
        self.gate: asyncio.Event | None = None
        self.failure: Exception | None = None
        self.remembered: list[Memory] = []
        self.summaries: dict[ConversationKey, ConversationSummary] = {}
        self.forgotten: list[tuple[str, str]] = []
        self.forgotten_users: list[str] = []

    async def search(self, _user_id: str, _text: str, *, limit: int) -> Sequence[Match]:
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.matches[:limit]

    async def remember(self, _user_id: str, memory: Memory) -> None:
        if self.failure is not None:
            raise self.failure
        self.remembered.append(memory)

    async def remember_summary(self, key: ConversationKey, summary: ConversationSummary) -> None:
        if self.failure is not None:
            raise self.failure
        self.summaries[key] = summary

    async def forget_conversation(self, user_id: str, conversation_id: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.forgotten.append((user_id, conversation_id))

    async def forget_user(self, user_id: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.forgotten_users.append(user_id)


class SummarizerDouble:
    """Writes the given title and narrative; waits or fails on demand.

    Attributes:
        calls: how often it was asked.
        read: the messages that it was given last.
        earlier: the earlier summary that it was given last.
        reached: set while it is asked.
    """

    def __init__(self, title: str = "Squats and a knee", narrative: str = "They squat.") -> None:
        self.title = title
        self.narrative = narrative
        self.calls = 0
        self.read: list[str] = []
        self.earlier = ConversationSummary()
        self.gate: asyncio.Event | None = None
        self.reached = asyncio.Event()
        self.failure: Exception | None = None

    async def summarize(
        self, messages: Sequence[PromptMessage], earlier: ConversationSummary
    ) -> SummaryContent:
        self.earlier = earlier
        await self._ask(messages)
        return SummaryContent(self.narrative, current_goals=("Run",), key_insights=("Rests little",))

    async def suggest_title(self, messages: Sequence[PromptMessage]) -> str:
        await self._ask(messages)
        return self.title

    async def _ask(self, messages: Sequence[PromptMessage]) -> None:
        self.calls += 1
        self.read = [message.text for message in messages]
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure


class Recorded(Generic[T]):
    """Takes hand-offs; waits or fails on demand."""

    def __init__(self) -> None:
        self.taken: list[T] = []
        self.gate: asyncio.Event | None = None
        self.failure: Exception | None = None

    async def build(self, hand_off: T) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.taken.append(hand_off)


class AnalyserDouble:
    """Gives one verdict on every message; waits or fails on demand."""

    def __init__(self, verdict: MessageAnalysis | None = None) -> None:
        self.verdict = verdict or MessageAnalysis()
        self.delay_s = 0.0
        self.gate: asyncio.Event | None = None
        self.failure: Exception | None = None
        self.texts: list[str] = []

    async def analyse(self, text: str) -> MessageAnalysis:
        self.texts.append(text)
        await asyncio.sleep(self.delay_s)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.verdict


def a_memory(content: str = "Trains at dawn") -> Memory:
    """A memory of medium importance."""
    return Memory("m", content, "preference", Importance.MEDIUM, NOW)


def a_workout(summary: str = "Five sets of squats") -> Workout:
    """A workout with today's date."""
    return Workout("w", NOW, summary)


def a_match(content: str = "Rest is training") -> Match:
    """A passage of the shared methodology."""
    return Match("p", content, 1.0, "methodology", "methodology")


class Stage:
    """All dependencies of a turn, with short budgets."""

    def __init__(self, model: ScriptedModel | None = None, recall: RecallDouble | None = None) -> None:
        self.store = TurnStoreDouble()
        self.model = model or ScriptedModel()
        self.fallback: ScriptedModel | None = None
        self.recall = recall
        self.workouts: Recorded[WorkoutLog] | None = None
        self.summaries: Recorded[SummaryRequest] | None = None
        self.titles: Recorded[TitleRequest] | None = None
        self.analyser: AnalyserDouble | None = None
        self.reports: list[TurnReport] = []
        self.random = random.Random(1)  # noqa: S311 (the same ids each time)
        self.settings = TurnSettings(
            save_reserve_s=1.0, limits=ContextLimits(optional_budget_s=0.05, profile_budget_s=0.05)
        )

    @property
    def dependencies(self) -> TurnDependencies:
        """The turn's dependencies."""
        return TurnDependencies(
            runs=self.store,
            context=self.store,
            conversations=self.store,
            memories=self.store,
            model=self.model,
            fallback_model=self.fallback,
            recall=self.recall,
            clock=FixedDate(),
            workout_builder=self.workouts,
            summary_builder=self.summaries,
            title_builder=self.titles,
            analyser=self.analyser,
            report=self.reports.append,
            random_below=self.random.randrange,
        )

    def request(
        self,
        text: str = "How am I doing?",
        *,
        within_s: float = 30.0,
        client_message_id: str | None = None,
        streamed: bool = False,
    ) -> TurnRequest:
        """A request for a message, with a deadline."""
        deadline = asyncio.get_running_loop().time() + within_s
        return TurnRequest(KEY, text, deadline, client_message_id=client_message_id, streamed=streamed)

    async def run(self, request: TurnRequest | None = None) -> list[Event]:
        """Run a turn and return all its events."""
        events: list[Event] = []

        async def send(event: Event) -> None:
            events.append(event)

        await run_turn(request or self.request(), self.dependencies, self.settings, send=send)
        return events

    def stored(self) -> list[tuple[str, str]]:
        """Role and text of every stored message; a partial one has a dash after its role."""
        partial = {StopReason.INTERRUPTED, StopReason.CONTENT_FILTERED}
        return [
            (f"{message.role.value}{'-' * (message.metadata.stop_reason in partial)}", message.content)
            for message in self.store.messages[KEY]
        ]
