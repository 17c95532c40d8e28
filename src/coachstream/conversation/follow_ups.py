"""What a turn sets off beside its reply: hand-offs to other functions, counters.

They run while the reply is written and never make it wait, fail no turn, and are over before the turn is:
Lambda freezes a function that has answered, and what still ran then would be lost or done much later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from coachstream.conversation.errors import CoachStreamError, log_failure, whereabouts

logger = logging.getLogger("coachstream.turn")


class FollowUps:
    """The follow-ups of one turn, each by its name."""

    def __init__(self) -> None:
        self._failed: tuple[str, ...] = ()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[object, object, None]) -> None:
        """Begin one."""
        self._tasks[name] = asyncio.create_task(work, name=name)

    async def finish(self, *, within_s: float) -> tuple[str, ...]:
        """Wait for all, and cancel those that are not over by then.

        Returns:
            The names of those that did not succeed, now or at an earlier call.
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
        logger.warning("The %s took too long and was given up", name)
        return False
    error = task.exception()
    if error is None:
        return True
    if isinstance(error, CoachStreamError):
        log_failure(logger, f"The {name} failed", error, level=logging.WARNING)
    else:
        logger.warning("The %s failed: %s", name, whereabouts(error))
    return False
