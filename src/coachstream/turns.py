"""What the functions do with a conversation's turns, with the adapters of `services`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from coachstream.services import STORE_ATTEMPTS, Services

if TYPE_CHECKING:
    from coachstream.conversation.events import Completed, Failed
    from coachstream.conversation.model import ConversationKey
    from coachstream.conversation.parts import Report, TurnParts
    from coachstream.conversation.producer import TurnProducer
    from coachstream.conversation.turn_request import ResumeRequest, TurnRequest

LONGEST_TURN_S = 300.0
"""The timeout of the existing functions."""


class Turns:
    """Starts, reads on, stops and closes turns. What a turn needs is imported when there is one."""

    def __init__(self, services: Services) -> None:
        """Work with the adapters of this process."""
        self._services = services

    def deadline(self, of_invocation: float | None) -> float:
        """When a turn must be over, on the clock's monotonic scale; an invocation without an end gets one."""
        return self._services.clock.monotonic() + LONGEST_TURN_S if of_invocation is None else of_invocation

    def start(self, request: TurnRequest, *, report: Report | None = None) -> TurnProducer:
        """A turn that runs for as long as the producer's `async with`, and to its end."""
        return self._turn(request, self._parts(report))

    async def run_whole(self, request: TurnRequest, *, report: Report | None = None) -> Completed | Failed:
        """A turn whose reply comes in one piece, or is there already (see `whole_turn`)."""
        from coachstream.conversation.whole_turn import run_whole_turn

        return await run_whole_turn(self._turn(request, self._parts(report, in_one_piece=True)))

    async def open_for_reader(self, request: TurnRequest) -> str:
        """Open a run that its first reader will have produced, and return its id."""
        from coachstream.conversation.message_id import run_id
        from coachstream.conversation.turn import opener_of, user_message_of

        parts = self._parts()
        settings = self._services.turn_settings
        opener = opener_of(parts, settings)
        deadline = request.deadline - settings.save_reserve_s
        async with asyncio.timeout(max(0.0, deadline - self._services.clock.monotonic())):
            return await opener.open_for_reader(
                request.key,
                partial(user_message_of, request, parts),
                run_id(self._services.clock.now(), parts.random_below),
                deadline=deadline - self._services.store_timeout_s,
            )

    async def resume(self, request: ResumeRequest, *, report: Report | None = None) -> TurnProducer | None:
        """Go on reading a run; None where there is nothing left to read.

        Raises:
            RunNotFound: the conversation has no such run.
        """
        from coachstream.conversation.errors import RunNotFound
        from coachstream.conversation.producer import Audience, TurnProducer
        from coachstream.conversation.turn import resume_run, watcher_of

        parts = self._parts(report)
        settings, audience = self._services.turn_settings, Audience()
        watcher = watcher_of(request, parts, settings, has_left=audience.has_left)
        if await watcher.open() is None:
            raise RunNotFound
        if watcher.is_at_the_end:
            return None
        return TurnProducer(
            resume_run(request, watcher, parts, settings, has_left=audience.has_left),
            audience,
            save_deadline=request.deadline - settings.save_reserve_s,
            clock=self._services.clock,
            point=watcher.point,
        )

    async def has_reply(self, request: TurnRequest) -> bool:
        """Whether the sender of a message has its whole reply already, as `after` says."""
        from coachstream.conversation.turn import opener_of, user_message_of

        if request.after is None:
            return False
        parts = self._parts()
        opener = opener_of(parts, self._services.turn_settings)
        async with asyncio.timeout(STORE_ATTEMPTS * self._services.store_timeout_s):
            return await opener.is_finished_at(request.key, request.after, user_message_of(request, parts))

    async def stop(self, key: ConversationKey, run_id: str) -> bool:
        """Have a run stopped; whether there was something to stop."""
        from coachstream.conversation.turn import opener_of

        parts = self._parts()
        return await opener_of(parts, self._services.turn_settings).stop(key, run_id)

    async def close_dead(self, key: ConversationKey) -> None:
        """Store what the conversation's run has said, if its producer has died."""
        from coachstream.conversation.turn import closer_of

        await closer_of(self._parts(), self._services.turn_settings).settle(key)

    def _parts(self, report: Report | None = None, *, in_one_piece: bool = False) -> TurnParts:
        from coachstream.conversation.parts import TurnParts, ignore_report

        services = self._services
        models = (services.model, services.fallback_model)
        if in_one_piece:
            models = (services.whole_reply_model, services.whole_reply_model)
        return TurnParts(
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
            report=report or ignore_report,
        )

    def _turn(self, request: TurnRequest, parts: TurnParts) -> TurnProducer:
        from coachstream.conversation.producer import Audience, TurnProducer
        from coachstream.conversation.turn import run_turn

        settings, audience = self._services.turn_settings, Audience()
        return TurnProducer(
            run_turn(request, parts, settings, has_left=audience.has_left),
            audience,
            save_deadline=request.deadline - settings.save_reserve_s,
            clock=self._services.clock,
        )
