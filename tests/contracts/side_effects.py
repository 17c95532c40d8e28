"""Rules for the side effects of turns, on every store: once for a message, whatever becomes of its turns.

A subclass provides `store`, as for `ConversationStoreContract`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar, cast

from coachstream.conversation.analysis import MessageAnalysis
from coachstream.conversation.errors import StorageUnavailable
from coachstream.conversation.events import Completed, Event, Reconnect
from coachstream.conversation.model import StopReason
from coachstream.conversation.ports import ModelStop, WorkoutLog
from coachstream.conversation.run_log import RunState
from coachstream.conversation.runs.closer import RunCloser
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.request import ResumeRequest, TurnRequest
from coachstream.conversation.turn.settings import TurnSettings
from coachstream.conversation.turn.turn import resume_run, run_turn, run_watcher
from contracts.store_records import KEY, SeedableStore, StoreContract
from support.doubles import ScriptedModel
from support.patience import PATIENCE_S
from support.turn_events import all_events
from support.turns import AnalyserDouble, Recorded

T = TypeVar("T")

TEXT = "I did 5x5 squats. Please remember that I am allergic to peanuts."
BOTH = MessageAnalysis(
    workout_confidence=0.9, memory_confidence=0.9, memory_text="I am allergic to peanuts", needs_search=False
)
MOST_POINTS = 60
"""More than a turn has; a test fails before it becomes endless."""

SETTINGS = TurnSettings(save_reserve_s=PATIENCE_S / 2)
"""Only a hang exceeds the time to save; a turn that must not finish gets little more than that."""


class SystemClock:
    """The time as it is."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class Life:
    """Ends at a point, of which there is one before and one after each call to the outside."""

    def __init__(self, points: float = float("inf")) -> None:
        self._left = points

    @property
    def is_over(self) -> bool:
        """Whether the process is dead."""
        return self._left < 0

    def pass_point(self) -> None:
        """Live on, or not: a dead process neither calls anything nor gets a result."""
        self._left -= 1
        if self.is_over:
            raise StorageUnavailable("this process is dead")


class _Mortal:
    def __init__(self, target: object, life: Life) -> None:
        self._target = target
        self._life = life

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        method = getattr(self._target, name)

        async def call(*args: object, **more: object) -> object:
            self._life.pass_point()
            result = await method(*args, **more)
            self._life.pass_point()
            return result

        return call


def mortal(target: T, life: Life) -> T:
    """An object with coroutine methods, as a process with this life calls them."""
    return cast("T", _Mortal(target, life))


class SideEffectContract(StoreContract):
    """Workouts and memories of a message that is tried, died over, resumed and taken over."""

    async def test_side_effects_happen_once_wherever_a_process_dies(self, store: SeedableStore) -> None:
        """At each point of a turn; the client then sends its message again.

        The function gets a workout twice only if the process dies between the hand-off and the mark, and then
        with the same idempotency key.
        """
        workouts: Recorded[WorkoutLog] = Recorded()
        for point in range(MOST_POINTS):
            name, life = f"c-{point}", Life(point)
            before = len(workouts.taken)
            await _run(store, workouts, client_message_id=name, life=life)
            await _close_dead_run(store)
            dead_between = len(workouts.taken) > before and not await _is_marked(store, name)
            events = await _run(store, workouts, client_message_id=name)
            assert isinstance(events[-1], Completed), (point, events)
            user_message = events[-1].user_message
            taken = workouts.taken[before:]
            keys = {(workout.message_id, workout.sent_at) for workout in taken}
            assert keys == {(user_message.id, user_message.timestamp)}, point
            assert len(taken) == (2 if dead_between else 1), point
            assert await _is_marked(store, name)
            memories = await store.load_memories(KEY.user_id, KEY.coach_id, limit=2 * MOST_POINTS)
            assert len(memories) == point + 1
            if not life.is_over:
                break
        else:
            raise AssertionError("a turn has no end")
        assert point > 10

    async def test_side_effects_happen_once_over_a_takeover(self, store: SeedableStore) -> None:
        """The second lease holder continues the reply; a third reader gets the finished one."""
        workouts: Recorded[WorkoutLog] = Recorded()
        model = ScriptedModel("Well, ", asyncio.Event())
        model.can_continue = True
        first = await _run(store, workouts, model=model, within_s=PATIENCE_S / 2 + 1.0)
        assert isinstance(first[-1], Reconnect)
        run = first[-1].point.run_id
        model = ScriptedModel("done.", ModelStop(StopReason.END_TURN))
        model.can_continue = True
        dependencies = _dependencies(store, workouts, model, Life())
        for _ in range(2):
            request = ResumeRequest(KEY, run, time.monotonic() + PATIENCE_S)
            watcher = run_watcher(request, dependencies, SETTINGS)
            await watcher.open()
            events = await all_events(resume_run, request, watcher, dependencies, SETTINGS)
        assert isinstance(events[-1], Completed)
        assert events[-1].reply.content == "Well, done."
        assert len(workouts.taken) == 1
        assert len(await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)) == 1

    async def test_side_effects_happen_once_over_retries_of_a_failed_turn(self, store: SeedableStore) -> None:
        """A workout with the first reply, a memory at once."""
        workouts: Recorded[WorkoutLog] = Recorded()
        handed_off = []
        for reason in (
            StopReason.INTERRUPTED,
            StopReason.INTERRUPTED,
            StopReason.END_TURN,
            StopReason.END_TURN,
        ):
            await _run(store, workouts, model=ScriptedModel("Well", ModelStop(reason)))
            handed_off.append(len(workouts.taken))
        assert handed_off == [0, 0, 1, 1]
        assert len(await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)) == 1


async def _is_marked(store: SeedableStore, client_message_id: str) -> bool:
    messages = await store.load_messages(KEY)
    return any(
        message.metadata.is_handed_off and message.metadata.client_message_id == client_message_id
        for message in messages
    )


async def _close_dead_run(store: SeedableStore) -> None:
    """As the next process does when the lease is over."""
    run = (await store.read_queue(KEY)).run_id
    if run is not None:
        closer = RunCloser(store, SystemClock(), SETTINGS.runs, model_name="scripted")
        await closer.close(KEY, run, RunState.of(await store.read_log(KEY, run)))


def _dependencies(
    store: SeedableStore, workouts: Recorded[WorkoutLog], model: ScriptedModel, life: Life
) -> TurnDependencies:
    mortal_store = mortal(store, life)
    return TurnDependencies(
        runs=mortal_store,
        context=mortal_store,
        conversations=mortal_store,
        memories=mortal_store,
        model=model,
        recall=None,
        clock=SystemClock(),
        workout_builder=mortal(workouts, life),
        analyser=AnalyserDouble(BOTH),
    )


async def _run(
    store: SeedableStore,
    workouts: Recorded[WorkoutLog],
    *,
    model: ScriptedModel | None = None,
    client_message_id: str = "c-1",
    life: Life | None = None,
    within_s: float = PATIENCE_S,
) -> list[Event]:
    """All events of one attempt at the message."""
    request = TurnRequest(
        KEY, TEXT, time.monotonic() + within_s, client_message_id=client_message_id, streamed=True
    )
    dependencies = _dependencies(store, workouts, model or ScriptedModel(), life or Life())
    return await all_events(run_turn, request, dependencies, SETTINGS)
