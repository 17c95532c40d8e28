"""Loads everything a prompt needs, concurrently; optional items may be late or missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Self, TypeVar

import msgspec

from coachstream.conversation.analysis import MessageAnalysis
from coachstream.conversation.errors import CoachStreamError
from coachstream.conversation.model import ConversationKey, Match, Memory, Message, Workout
from coachstream.conversation.ports import ContextStore, SemanticMemory
from coachstream.conversation.prompt.coach import CoachConfig
from coachstream.conversation.prompt.user import ConversationSummary, UserProfile
from coachstream.conversation.turn.analysis import PendingAnalysis
from coachstream.conversation.turn.settings import ContextLimits

logger = logging.getLogger("coachstream.turn")

T = TypeVar("T")


class Context(msgspec.Struct, frozen=True):
    """What was loaded; an optional item that failed or was late is empty and listed in `left_out`."""

    coach: CoachConfig
    history: Sequence[Message]
    memories: Sequence[Memory]
    workouts: Sequence[Workout]
    matches: Sequence[Match]
    profile: UserProfile = UserProfile()
    summary: ConversationSummary = ConversationSummary()
    left_out: tuple[str, ...] = ()


class ContextLoad:
    """A load in progress. Use as `async with`: leaving it cancels what has not finished.

    Attributes:
        analysis: runs next to the load. A search that it finds needless is not waited for.
    """

    def __init__(
        self,
        store: ContextStore,
        recall: SemanticMemory | None,
        key: ConversationKey,
        text: str,
        limits: ContextLimits,
        analysis: PendingAnalysis,
        *,
        history_budget_chars: int,
    ) -> None:
        self.analysis = analysis
        self._limits = limits
        self._began = asyncio.get_running_loop().time()
        self._coach = asyncio.ensure_future(store.load_coach(key.user_id, key.coach_id))
        self._history = asyncio.ensure_future(
            store.load_history(key, limit=limits.messages, budget_chars=history_budget_chars)
        )
        self._memories = asyncio.ensure_future(
            store.load_memories(key.user_id, key.coach_id, limit=limits.memories)
        )
        self._workouts = asyncio.ensure_future(store.load_recent_workouts(key.user_id, limit=limits.workouts))
        self._matches = asyncio.ensure_future(
            _nothing() if recall is None else recall.search(key.user_id, text, limit=limits.matches)
        )
        self._profile = asyncio.ensure_future(store.load_profile(key.user_id))
        self._summary = asyncio.ensure_future(store.load_summary(key))
        analysis.when_arrived(self._skip_needless_search)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = (
            *(self._coach, self._history, self._memories, self._workouts, self._matches),
            *(self._profile, self._summary),
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self.analysis.aclose(), return_exceptions=True)

    async def loaded(self) -> Context:
        """Wait for the required items, and for the optional ones until their budget is used up.

        Raises:
            CoachStreamError: the coach or the history could not be loaded.
        """
        coach, history = await self._coach, await self._history
        optional = {
            "memories": self._memories,
            "workouts": self._workouts,
            "semantic search": self._matches,
            "conversation summary": self._summary,
        }
        await self._wait_for(*optional.values(), within_s=self._limits.optional_budget_s)
        await self._wait_for(self._profile, within_s=self._limits.profile_budget_s)
        optional["user profile"] = self._profile
        is_search_skipped = self._matches.cancelled()
        if is_search_skipped:
            del optional["semantic search"]
        left_out = tuple(name for name, task in optional.items() if not _is_there(name, task))
        return Context(
            coach,
            history,
            () if "memories" in left_out else self._memories.result(),
            () if "workouts" in left_out else self._workouts.result(),
            () if is_search_skipped or "semantic search" in left_out else self._matches.result(),
            UserProfile() if "user profile" in left_out else self._profile.result(),
            ConversationSummary() if "conversation summary" in left_out else self._summary.result(),
            left_out,
        )

    def _skip_needless_search(self, analysis: MessageAnalysis) -> None:
        if not analysis.needs_search:
            self._matches.cancel()

    async def _wait_for(self, *tasks: asyncio.Future[T], within_s: float) -> None:
        """Wait for all tasks, but no longer than some seconds after the load began."""
        late_at = self._began + within_s
        await asyncio.wait(tasks, timeout=max(0.0, late_at - asyncio.get_running_loop().time()))


def _is_there(name: str, task: asyncio.Future[T]) -> bool:
    if not task.done():
        logger.warning("The %s took too long and is left out of the prompt", name)
        return False
    error = task.exception()
    if error is None:
        return True
    cause = error.code.value if isinstance(error, CoachStreamError) else type(error).__qualname__
    logger.warning("The %s failed with %s and is left out of the prompt", name, cause)
    return False


async def _nothing() -> Sequence[Match]:
    return ()
