"""The analysis of a turn's message: it runs next to everything else, and neither fails nor holds up a turn.

The model is called without waiting for it. What arrives before that shapes the prompt; what arrives later
still counts until the end of the turn, which waits for it until its budget is used up, and no longer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from coachstream.conversation.analysis import MessageAnalysis
from coachstream.conversation.errors import CoachStreamError, describe_exception, log_failure
from coachstream.conversation.ports import MessageAnalyser

logger = logging.getLogger("coachstream.turn")


class PendingAnalysis:
    """An analysis in progress; there is none without an analyser.

    Args:
        budget_s: how long the end of a turn may wait for it, in seconds from now.
    """

    def __init__(self, analyser: MessageAnalyser | None, text: str, *, budget_s: float) -> None:
        self._until = asyncio.get_running_loop().time() + budget_s
        self._task = None if analyser is None else asyncio.create_task(_analyse(analyser, text))

    @property
    def is_off(self) -> bool:
        """Whether nothing analyses messages."""
        return self._task is None

    @property
    def is_pending(self) -> bool:
        """Whether it has neither arrived nor failed yet."""
        return self._task is not None and not self._task.done()

    @property
    def arrived(self) -> MessageAnalysis | None:
        """The verdict, if it is there; None as well if there will be none."""
        task = self._task
        return task.result() if task is not None and task.done() and not task.cancelled() else None

    def when_arrived(self, take: Callable[[MessageAnalysis], None]) -> None:
        """Call with the verdict as soon as there is one."""

        def take_result(_: object) -> None:
            if (analysis := self.arrived) is not None:
                take(analysis)

        if self._task is not None:
            self._task.add_done_callback(take_result)

    async def wait(self, *, longest_s: float) -> None:
        """Wait until it has arrived or failed, or its budget is used up; no longer than `longest_s`."""
        if self._task is not None:
            left_s = self._until - asyncio.get_running_loop().time()
            await asyncio.wait((self._task,), timeout=max(0.0, min(left_s, longest_s)))

    def cancel(self) -> None:
        """Give it up."""
        if self._task is not None:
            self._task.cancel()

    async def aclose(self) -> None:
        """Give it up, and wait until nothing of it is left."""
        self.cancel()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)


async def _analyse(analyser: MessageAnalyser, text: str) -> MessageAnalysis | None:
    await asyncio.sleep(0)  # the requests that the prompt waits for are built first
    try:
        return await analyser.analyse(text)
    except CoachStreamError as error:
        log_failure(logger, "The analysis of a message failed", error, level=logging.WARNING)
    except Exception as error:  # noqa: BLE001 (whatever it is, the turn is the same without it)
        logger.warning("The analysis of a message failed: %s", describe_exception(error))
    return None
