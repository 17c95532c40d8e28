"""The lease on a conversation: at most one live turn, and what tells a live one from a dead one.

A turn takes the conversation's lease and renews it until it is given up. A process that dies renews no more,
and the lease runs out. Expiry is a date by the clock of the machine that wrote it, read by the clock of
another: clocks that differ by more than the lease let a turn begin too early. Nothing is lost then, for it is
not the date that protects the data: whoever saves a reply proves in the same transaction that the lease has
their token.

The item stays when no turn is under way, so that its epoch never begins again: it counts the turns.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from coachstream.conversation.errors import CoachStreamError, whereabouts
from coachstream.conversation.message_id import milliseconds_of
from coachstream.conversation.model import ConversationKey
from coachstream.storage.dynamodb.calls import TableCalls
from coachstream.storage.dynamodb.errors import ConditionFailed
from coachstream.storage.dynamodb.keys import turn_key
from coachstream.storage.dynamodb.requests import Delete, Update

logger = logging.getLogger("coachstream.storage")

RENEWALS_A_LEASE = 3
"""Two may fail before it is lost."""

_IS_FREE = "attribute_not_exists(#token) OR #expiresAt < :now"
_IS_OURS = "#token = :token"


class TurnLeases:
    """The leases of one process: how they are taken, kept and given up."""

    def __init__(self, calls: TableCalls, *, lease_s: float, now: Callable[[], datetime]) -> None:
        self._calls = calls
        self._lease_s = lease_s
        self._now = now
        self._held: dict[str, tuple[ConversationKey, asyncio.Task[None]]] = {}

    def taking(self, key: ConversationKey, token: str, *, even_from_another: bool = False) -> Update:
        """The write that takes the lease, if nobody holds it, or from whoever does."""
        taking = "SET #token = :token, #expiresAt = :until ADD #epoch :one"
        values = {":token": token, ":until": self._until(), ":one": 1}
        if even_from_another:
            return Update(turn_key(key), taking, values=values)
        return Update(turn_key(key), taking, _IS_FREE, {**values, ":now": self._milliseconds()})

    def giving_up(self, key: ConversationKey, token: str) -> Update:
        """The write that gives the lease up, if it is held with this token."""
        return Update(turn_key(key), "REMOVE #token, #expiresAt", _IS_OURS, {":token": token})

    def deleting(self, key: ConversationKey, token: str) -> Delete:
        """The write that deletes the lease, if it is held with this token."""
        return Delete(turn_key(key), _IS_OURS, {":token": token})

    def keep(self, key: ConversationKey, token: str) -> None:
        """Begin to renew a lease that was taken."""
        self._held[token] = key, asyncio.create_task(self._renew(key, token))

    async def stop_renewing(self, token: str) -> None:
        """Leave a lease to run out, unless it is given up; harmless where none is renewed."""
        held = self._held.pop(token, None)
        if held is not None:
            held[1].cancel()
            await asyncio.gather(held[1], return_exceptions=True)

    async def release(self, key: ConversationKey, token: str) -> None:
        """Give the lease up; harmless when it is given up or lost."""
        await self.stop_renewing(token)
        try:
            await self._calls.change(self.giving_up(key, token))
        except ConditionFailed:
            return

    async def release_all(self) -> None:
        """Give up every lease that is renewed, as far as that can be done; the rest run out."""
        held = [self.release(key, token) for token, (key, _) in self._held.items()]
        await asyncio.gather(*held, return_exceptions=True)

    async def _renew(self, key: ConversationKey, token: str) -> None:
        every_s = self._lease_s / RENEWALS_A_LEASE
        while True:
            await asyncio.sleep(every_s)
            try:
                async with asyncio.timeout(every_s):
                    await self._calls.change(self._renewing(key, token))
            except ConditionFailed:
                # After a freeze, for one; the save will find the same, and say so.
                logger.warning("A turn has lost its lease")
                return
            except (CoachStreamError, TimeoutError) as error:
                logger.warning("A lease could not be renewed: %s", whereabouts(error))

    def _renewing(self, key: ConversationKey, token: str) -> Update:
        values = {":token": token, ":until": self._until()}
        return Update(turn_key(key), "SET #expiresAt = :until", _IS_OURS, values)

    def _until(self) -> int:
        return milliseconds_of(self._now() + timedelta(seconds=self._lease_s))

    def _milliseconds(self) -> int:
        return milliseconds_of(self._now())
