"""The users: their coaches, and the conversation to continue."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, cast

from coachstream.conversation.ids import conversation_id
from coachstream.conversation.model import Conversation, ConversationKey, to_milliseconds
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.local.demo.seed import (
    CONVERSATION_ID,
    USER_ID,
    USER_NAME,
    demo_coaches,
    seed,
)
from coachstream.local.session import Person, SessionCoach
from coachstream.recall.sqlite import SqliteRecall
from coachstream.services import Services
from coachstream.settings import DynamoDbSettings, SqliteRecallSettings

if TYPE_CHECKING:
    from coachstream.local.demo.seed import DemoStore


class NoCoachFound(Exception):
    """The store has no coach for this user; the message has the remedy."""


class UserDirectory:
    """Finds users in the store, and writes the demo data for them if allowed."""

    def __init__(self, services: Services, data_dir: Path, *, seeds_tables: bool) -> None:
        """Create a directory.

        Args:
            services: provides the store.
            data_dir: holds the markers of seeded users, and the local search index.
            seeds_tables: whether to write the demo data into DynamoDB, too.
        """
        self._services = services
        self._data_dir = data_dir
        store = services.settings.store
        self._table = store.table if isinstance(store, DynamoDbSettings) else None
        self._seeds = self._table is None or seeds_tables

    async def prepare(self, user_id: str | None) -> Person:
        """Find the user, by default the demo user, after writing the demo data for them if allowed.

        Raises:
            NoCoachFound: the store has no coach for the user.
            StorageUnavailable: it cannot be reached.
        """
        user_id = user_id or USER_ID
        if self._seeds:
            await self._seed(user_id)
        return await self.find(user_id)

    async def find(self, user_id: str) -> Person:
        """Find a user; in SQLite, every user gets the demo data, in DynamoDB none does.

        Raises:
            NoCoachFound: the store has no coach for the user.
            StorageUnavailable: it cannot be reached.
        """
        if self._table is None:
            await self._seed(user_id)
            coaches = await _demo_coaches()
        else:
            coaches = await self._coaches_in_table(user_id)
        if not coaches:
            raise NoCoachFound(self._remedy(user_id))
        return Person(
            user_id=user_id,
            name=USER_NAME if user_id == USER_ID else user_id,
            coaches=coaches,
            conversation_id=await self._conversation(user_id, coaches[0].coach_id),
            gets_titles=self._services.title_builder is not None,
        )

    async def _seed(self, user_id: str) -> None:
        recall = SqliteRecall(SqliteRecallSettings(self._data_dir).path)
        # Both stores implement it.
        store = cast("DemoStore", self._services.store)
        note = self._data_dir / self._note(user_id)
        await seed(store, recall, note, user_id=user_id, now=self._services.clock.now())

    def _note(self, user_id: str) -> str:
        """Return a file name for each table and user; ids may contain any character."""
        if self._table is None and user_id == USER_ID:
            return "seeded"
        place = "\0".join((self._table or "", user_id))
        return f"seeded-{hashlib.sha256(place.encode()).hexdigest()[:16]}"

    async def _coaches_in_table(self, user_id: str) -> tuple[SessionCoach, ...]:
        """The user's coaches, the main one first."""
        coaches = (
            SessionCoach(coach.coach_id, coach.name, coach.description)
            for coach in await self._services.store.list_coaches(user_id)
        )
        return tuple(sorted(coaches, key=lambda coach: not coach.coach_id.endswith("_coach_main")))

    async def _conversation(self, user_id: str, coach_id: str) -> str | None:
        store = self._services.store
        ids = [c.key.conversation_id for c in await store.list_conversations(user_id, coach_id)]
        if CONVERSATION_ID in ids:
            return CONVERSATION_ID
        if not ids and self._seeds:
            # The seeded conversation was deleted, and the user needs one to continue.
            now = to_milliseconds(self._services.clock.now())
            key = ConversationKey(user_id, coach_id, conversation_id(now, secrets.randbelow))
            await store.create_conversation(
                Conversation(key, DEFAULT_TITLE, started_at=now, last_activity=now)
            )
            return key.conversation_id
        return next(iter(ids), None)

    def _remedy(self, user_id: str) -> str:
        if user_id == USER_ID:
            return (
                f"Table {self._table} does not contain the demo data. --demo-data writes it there, and "
                "--user-id ID signs in a user who is in the table."
            )
        return f"Table {self._table} has no coach for the user {user_id}."


async def _demo_coaches() -> tuple[SessionCoach, ...]:
    return tuple(
        SessionCoach(coach.coach_id, coach.coach_name, coach.coach_description)
        for coach in await demo_coaches()
    )
