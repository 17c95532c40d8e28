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
    from coachstream.conversation.model import ConversationKey
    from coachstream.conversation.ports import (
        ChatModel,
        Clock,
        ContextStore,
        ConversationStore,
        SemanticMemory,
        TokenVerifier,
        TurnStore,
    )
    from coachstream.conversation.producer import TurnProducer

    class AnyStore(TurnStore, ContextStore, ConversationStore, Protocol):
        """One store is all three."""


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

    async def aclose(self) -> None:
        """Close what was opened."""
        opened = vars(self).pop("store", None)
        if isinstance(opened, Closeable):
            await opened.aclose()

    def deadline(self, of_invocation: float | None) -> float:
        """When a turn must be over, on the clock's monotonic scale; an invocation without an end gets one."""
        return self.clock.monotonic() + LONGEST_TURN_S if of_invocation is None else of_invocation

    def start_turn(
        self,
        key: ConversationKey,
        text: str,
        *,
        deadline: float,
        sent_at: datetime | None = None,
        client_message_id: str | None = None,
    ) -> TurnProducer:
        """A turn (see `TurnRequest`) that runs for as long as the producer's `async with`, and to its end."""
        from coachstream.conversation.context import ContextLimits
        from coachstream.conversation.producer import TurnProducer
        from coachstream.conversation.turn import TurnParts, TurnRequest, TurnSettings, run_turn

        request = TurnRequest(key, text, deadline, sent_at, client_message_id)
        settings = TurnSettings(
            history_budget_chars=self.settings.history_budget_chars,
            limits=ContextLimits(optional_budget_s=self.settings.optional_context_budget_s),
        )
        parts = TurnParts(
            turns=self.store, context=self.store, model=self.model, recall=self.recall, clock=self.clock
        )
        return TurnProducer(
            run_turn(request, parts, settings),
            save_deadline=deadline - settings.save_reserve_s,
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
