"""The functions' operations on turns, using the adapters of `services`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from coachstream.services import STORE_ATTEMPTS, Services
from coachstream.settings.invocation import INVOCATION_TIMEOUT_S

if TYPE_CHECKING:
    from coachstream.conversation.events import Completed, Failed
    from coachstream.conversation.model import ConversationKey
    from coachstream.conversation.run_queue import QueuedRun, StopResult
    from coachstream.conversation.turn.dependencies import TakeReport, TurnDependencies
    from coachstream.conversation.turn.reader_queue import TurnReader
    from coachstream.conversation.turn.request import ResumeRequest, TurnRequest


class Turns:
    """Starts, resumes, stops and closes turns. Modules that a turn needs are imported at the first one."""

    def __init__(self, services: Services) -> None:
        """Use the adapters of this process."""
        self._services = services

    def deadline(self, of_invocation: float | None) -> float:
        """When a turn must be over, on the monotonic clock; an invocation without a deadline gets one."""
        if of_invocation is None:
            return self._services.clock.monotonic() + INVOCATION_TIMEOUT_S
        return of_invocation

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a turn that runs during the block.

        A process that takes more than it keeps up with delays them all, until turns that have begun fail.

        Raises:
            ServerBusy: this process runs as many turns as it may.
        """
        services = self._services
        if services.running_turns >= services.settings.max_turns:
            from coachstream.conversation.errors import ServerBusy

            raise ServerBusy
        services.running_turns += 1
        try:
            yield
        finally:
            services.running_turns -= 1

    def start(self, request: TurnRequest, *, report: TakeReport | None = None) -> TurnReader:
        """Create a turn that begins with the reader's `async with` and runs to its end."""
        return self._reader(request, self._dependencies(report))

    async def run_whole(
        self, request: TurnRequest, *, report: TakeReport | None = None
    ) -> Completed | Failed:
        """Run a turn whose reply is returned in one piece, or is already stored.

        Raises:
            ServerBusy: as `admitted`.
        """
        from coachstream.conversation.turn.reader_queue import collect_reply

        with self.admitted():
            return await collect_reply(self._reader(request, self._dependencies(report, in_one_piece=True)))

    async def open_for_reader(self, request: TurnRequest) -> str:
        """Open a run whose first reader will produce the reply, and return its id."""
        from coachstream.conversation.ids import run_id
        from coachstream.conversation.turn.turn import new_user_message, run_opener

        dependencies = self._dependencies()
        settings = self._services.turn_settings
        opener = run_opener(dependencies, settings)
        deadline = request.deadline - settings.save_reserve_s
        async with asyncio.timeout(max(0.0, deadline - self._services.clock.monotonic())):
            return await opener.open_for_reader(
                request.key,
                partial(new_user_message, request, dependencies),
                run_id(self._services.clock.now(), dependencies.random_below),
                deadline=deadline - self._services.store_timeout_s,
                time_zone=request.time_zone,
                policy=request.policy,
                another_try=request.another_try,
            )

    async def resume(self, request: ResumeRequest, *, report: TakeReport | None = None) -> TurnReader | None:
        """Resume reading a run, which may be queued; None if there is nothing left to read.

        Raises:
            RunNotFound: the conversation has no such run.
        """
        from coachstream.conversation.errors import RunNotFound
        from coachstream.conversation.events import LogPoint
        from coachstream.conversation.run_log import ending_of
        from coachstream.conversation.turn.reader_queue import TurnReader
        from coachstream.conversation.turn.turn import resume_run, run_watcher

        dependencies, settings = self._dependencies(report), self._services.turn_settings
        watcher = run_watcher(request, dependencies, settings)
        if await watcher.open() is not None:
            if watcher.is_at_the_end:
                return None
            return TurnReader(
                partial(resume_run, request, watcher, dependencies, settings),
                clock=self._services.clock,
                point=watcher.point,
            )
        store, key, run_id = dependencies.runs, request.key, request.run_id
        queue = await store.read_queue(key)
        last = await store.read_last(key, run_id)
        if last is None and queue.position_of(run_id) is None:
            raise RunNotFound
        if last is not None and ending_of(last) is not None and request.after >= last.number:
            return None
        return TurnReader(
            partial(resume_run, request, None, dependencies, settings),
            clock=self._services.clock,
            point=LogPoint(run_id, 0),
        )

    async def has_reply(self, request: TurnRequest) -> bool:
        """Whether the sender of a message already has its complete reply, according to `after`."""
        from coachstream.conversation.turn.turn import new_user_message, run_opener

        if request.after is None:
            return False
        dependencies = self._dependencies()
        opener = run_opener(dependencies, self._services.turn_settings)
        async with asyncio.timeout(STORE_ATTEMPTS * self._services.store_timeout_s):
            return await opener.is_finished_at(
                request.key, request.after, new_user_message(request, dependencies), request.another_try
            )

    async def stop(self, key: ConversationKey, run_id: str) -> StopResult:
        """Request that a run stop, or withdraw a queued one."""
        from coachstream.conversation.turn.turn import run_opener

        dependencies = self._dependencies()
        return await run_opener(dependencies, self._services.turn_settings).stop_or_withdraw(key, run_id)

    async def close_dead(self, key: ConversationKey) -> Sequence[QueuedRun]:
        """Close the conversation's run and keep its text, if its lease holder has died; return the queue."""
        from coachstream.conversation.turn.turn import run_closer

        return await run_closer(self._dependencies(), self._services.turn_settings).settle(key)

    def _dependencies(
        self, report: TakeReport | None = None, *, in_one_piece: bool = False
    ) -> TurnDependencies:
        from coachstream.conversation.turn.dependencies import TurnDependencies, ignore_report

        services = self._services
        models = (services.model, services.fallback_model)
        if in_one_piece:
            models = (services.whole_reply_model, services.whole_reply_model)
        return TurnDependencies(
            runs=services.store,
            context=services.store,
            conversations=services.store,
            memories=services.store,
            model=models[0],
            fallback_model=models[1],
            recall=services.recall,
            clock=services.clock,
            workout_builder=services.workout_builder,
            summary_builder=services.summary_builder,
            title_builder=services.title_builder,
            analyser=services.analyser,
            report=report or ignore_report,
        )

    def _reader(self, request: TurnRequest, dependencies: TurnDependencies) -> TurnReader:
        from coachstream.conversation.turn.reader_queue import TurnReader
        from coachstream.conversation.turn.turn import run_turn

        settings = self._services.turn_settings
        return TurnReader(
            partial(run_turn, request, dependencies, settings),
            clock=self._services.clock,
        )
