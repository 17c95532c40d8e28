"""The composition root: settings become adapters here, and nowhere else.

Built once a process, on the event loop that uses it. Each adapter is made at its first use, so that its
import and its set-up cost nothing to a request that does not need it, and nothing before the first byte of
one that needs it later.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from coachstream.settings import IdentityProvider, Model, Recall, Settings, Store

if TYPE_CHECKING:
    from coachstream.conversation.events import Completed, Failed
    from coachstream.conversation.parts import Report, TurnParts
    from coachstream.conversation.ports import (
        ChatModel,
        Clock,
        ContextStore,
        ConversationStore,
        MemoryStore,
        SemanticMemory,
        SummaryBuilder,
        TokenVerifier,
        TurnStore,
        WorkoutBuilder,
    )
    from coachstream.conversation.producer import TurnProducer
    from coachstream.conversation.turn_request import TurnRequest

    class AnyStore(TurnStore, ContextStore, ConversationStore, MemoryStore, Protocol):
        """One store is all four."""


@runtime_checkable
class Closeable(Protocol):
    """An adapter that holds something open."""

    async def aclose(self) -> None:
        """Let it go."""


LONGEST_TURN_S = 300.0
"""The timeout of the existing functions."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The current time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds; the scale of `FunctionUrlEvent.deadline`."""
        return time.monotonic()


class Services:
    """The adapters of one process; holds nothing of a user.

    Tests put their own parts in place of the adapters by assigning them.
    """

    def __init__(self, settings: Settings) -> None:
        """Remember the settings; nothing is opened yet."""
        self.settings = settings

    @cached_property
    def clock(self) -> Clock:
        """The time."""
        return SystemClock()

    @cached_property
    def verifier(self) -> TokenVerifier:
        """Needed by every request, before anything else."""
        match self.settings.identity:
            case IdentityProvider.LOCAL:
                from coachstream.identity.local_issuer import local_verifier

                return local_verifier(self.settings.data_dir)

    @cached_property
    def store(self) -> AnyStore:
        """Conversations, and what feeds a prompt."""
        match self.settings.store:
            case Store.SQLITE:
                from coachstream.storage.sqlite import SqliteStore

                return SqliteStore(self.settings.database)

    @cached_property
    def recall(self) -> SemanticMemory | None:
        """The search by meaning; None where it is switched off."""
        match self.settings.recall:
            case Recall.SQLITE:
                from coachstream.recall.sqlite import SqliteRecall

                return SqliteRecall(self.settings.recall_database)
            case Recall.OFF:
                return None

    @cached_property
    def model(self) -> ChatModel:
        """Who writes the replies."""
        match self.settings.model:
            case Model.DEMO:
                from coachstream.language.demo import DemoModel

                return DemoModel(delay_s=self.settings.model_delay_s)

    @cached_property
    def whole_reply_model(self) -> ChatModel:
        """Who writes the replies that are not streamed."""
        return self.model

    @cached_property
    def workout_builder(self) -> WorkoutBuilder | None:
        """Takes workouts; None where no function is named."""
        return None

    @cached_property
    def summary_builder(self) -> SummaryBuilder | None:
        """Takes conversations that are due for a summary; None where no function is named."""
        return None

    async def aclose(self) -> None:
        """Close what was opened."""
        opened = vars(self).pop("store", None)
        if isinstance(opened, Closeable):
            await opened.aclose()

    def deadline(self, of_invocation: float | None) -> float:
        """When a turn must be over, on the clock's monotonic scale; an invocation without an end gets one."""
        return self.clock.monotonic() + LONGEST_TURN_S if of_invocation is None else of_invocation

    def start_turn(self, request: TurnRequest, *, report: Report | None = None) -> TurnProducer:
        """A turn that runs for as long as the producer's `async with`, and to its end."""
        return self._producer(request, self._turn_parts(self.model, report))

    async def run_whole_turn(
        self, request: TurnRequest, *, report: Report | None = None
    ) -> Completed | Failed:
        """A turn whose reply comes in one piece, or is there already (see `whole_turn`)."""
        from coachstream.conversation.whole_turn import run_whole_turn

        parts = self._turn_parts(self.whole_reply_model, report)
        return await run_whole_turn(request, parts, lambda attempt: self._producer(attempt, parts))

    def _turn_parts(self, model: ChatModel, report: Report | None) -> TurnParts:
        from coachstream.conversation.parts import TurnParts, ignore_report

        return TurnParts(
            turns=self.store,
            context=self.store,
            conversations=self.store,
            memories=self.store,
            model=model,
            recall=self.recall,
            clock=self.clock,
            workout_builder=self.workout_builder,
            summary_builder=self.summary_builder,
            report=report or ignore_report,
        )

    def _producer(self, request: TurnRequest, parts: TurnParts) -> TurnProducer:
        from coachstream.conversation.context import ContextLimits
        from coachstream.conversation.producer import TurnProducer
        from coachstream.conversation.turn import TurnSettings, run_turn

        settings = TurnSettings(
            history_budget_chars=self.settings.history_budget_chars,
            limits=ContextLimits(optional_budget_s=self.settings.optional_context_budget_s),
        )
        return TurnProducer(
            run_turn(request, parts, settings),
            save_deadline=request.deadline - settings.save_reserve_s,
            clock=self.clock,
        )


_services: WeakKeyDictionary[asyncio.AbstractEventLoop, Services] = WeakKeyDictionary()


def services_of_this_process() -> Services:
    """The services for the running loop, made from the environment at the first call.

    Raises:
        SettingsError: the environment does not describe a service that can run.
    """
    loop = asyncio.get_running_loop()
    services = _services.get(loop)
    if services is None:
        services = _services[loop] = Services(Settings.from_environment(os.environ))
    return services
