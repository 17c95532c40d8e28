"""Finds out during a turn what is left of the user's quotas, for the end of the turn."""

from __future__ import annotations

import asyncio
import logging
from typing import Self

from coachstream.conversation.errors import CoachStreamError, describe_exception
from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.model import Usage
from coachstream.conversation.ports import Clock
from coachstream.conversation.quotas import QuotaLimits, QuotaUse, Spent, tokens_of
from coachstream.conversation.run_store import RunStore

logger = logging.getLogger("coachstream.turn")

LATE_AFTER_S = 0.5
"""How long the end of a turn waits for it. It is read while the model writes, so it has usually arrived."""


class PendingQuotaUse:
    """A read in progress, if any quota is on. Use as `async with`: leaving it cancels the read."""

    def __init__(self, store: RunStore, clock: Clock, user_id: str, limits: QuotaLimits) -> None:
        self._store = store
        self._clock = clock
        self._user_id = user_id
        self._limits = limits
        self._read: asyncio.Task[QuotaUse | None] | None = None

    async def __aenter__(self) -> Self:
        if self._limits.is_on:
            self._read = asyncio.create_task(self._use(), name="quota-use")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._read is not None:
            self._read.cancel()
            await asyncio.gather(self._read, return_exceptions=True)

    async def spent(self, usage: Usage, *, chars: int) -> Spent | None:
        """What the turn has spent (see `tokens_of`); None if no quota is on."""
        if self._read is None:
            return None
        await asyncio.wait((self._read,), timeout=LATE_AFTER_S)
        use = self._read.result() if self._read.done() else None
        tokens, at = tokens_of(usage, chars=chars), milliseconds_of(self._clock.now())
        return Spent(at, tokens, use=None if use is None else use.after_turn(tokens, at=at))

    async def _use(self) -> QuotaUse | None:
        try:
            return await self._store.quota_use(
                self._user_id, self._limits, at=milliseconds_of(self._clock.now())
            )
        except CoachStreamError as error:
            logger.warning("What is left of the quotas could not be read: %s", error.code.value)
        except Exception as error:  # noqa: BLE001 (the reply is stored all the same)
            logger.error("What is left of the quotas could not be read: %s", describe_exception(error))  # noqa: TRY400
        return None
