from __future__ import annotations

import re
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from coachstream.conversation.model import ConversationChange, ConversationKey, Role
from coachstream.local.demo.seed import CONVERSATION_ID, USER_ID
from coachstream.local.session import Person
from coachstream.local.user_directory import UserDirectory
from coachstream.recall.sqlite import SqliteRecall
from coachstream.services import Services, SystemClock
from coachstream.settings import Settings, SqliteRecallSettings
from coachstream.storage.sqlite import SqliteStore
from support.places import COACHSTREAM

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class StoppedClock(SystemClock):
    """A clock that always shows the same time."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def now(self) -> datetime:
        return self._moment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def prepared(folder: Path, *, user_id: str | None = None, now: datetime = NOW) -> Person:
    """The user that a server starting at this time finds."""
    services = Services(Settings.embedded(folder))
    services.clock = StoppedClock(now)
    async with aclosing(services):
        return await UserDirectory(services, folder, seeds_tables=False).prepare(user_id)


def stored(folder: Path) -> aclosing[SqliteStore]:
    return aclosing(SqliteStore(folder / "conversations.db"))


def remove_database(folder: Path) -> None:
    for file in folder.glob("conversations.db*"):
        if file.is_file():
            file.unlink()


def key_of(person: Person, conversation_id: str = CONVERSATION_ID) -> ConversationKey:
    return ConversationKey(person.user_id, person.coaches[0].coach_id, conversation_id)


async def test_a_first_start_seeds_coaches_and_their_data(
    folder: Path,
) -> None:
    """Two coaches, memories, recent workouts, a conversation, and passages for the recall."""
    person = await prepared(folder)
    assert re.fullmatch(r"[A-Za-z0-9_-]{21}", person.user_id)
    main, other = person.coaches
    assert main.coach_id == f"user_{person.user_id}_coach_main"
    assert re.fullmatch(rf"user_{person.user_id}_coach_\d+", other.coach_id)
    async with stored(folder) as store:
        coaches = [await store.load_coach(USER_ID, coach.coach_id) for coach in person.coaches]
        assert [coach.name for coach in coaches] == [main.name, other.name]
        assert await store.load_memories(USER_ID, main.coach_id, limit=10)
        workouts = await store.load_recent_workouts(USER_ID, limit=10)
        assert all(NOW - timedelta(days=30) < workout.completed_at < NOW for workout in workouts)
        assert len(workouts) == 6
        messages = await store.load_messages(key_of(person))
        assert [message.role for message in messages] == [Role.USER, Role.ASSISTANT] * 2
        assert [message.timestamp for message in messages] == sorted(m.timestamp for m in messages)
    recall = SqliteRecall(SqliteRecallSettings(folder).path)
    types = {match.record_type for match in await recall.search(USER_ID, "squat knee", limit=8)}
    assert types == {"methodology", "workout_summary"}


async def test_a_second_start_changes_nothing(folder: Path) -> None:
    """A renamed conversation keeps its name, and dates do not move."""
    person = await prepared(folder)
    async with stored(folder) as store:
        await store.change_conversation(key_of(person), ConversationChange(title="Mine"))
        before = await store.load_recent_workouts(USER_ID, limit=10)
    assert await prepared(folder, now=NOW + timedelta(days=5)) == person
    async with stored(folder) as store:
        assert (await store.get_conversation(key_of(person))).title == "Mine"
        assert await store.load_recent_workouts(USER_ID, limit=10) == before


async def test_a_first_start_that_was_interrupted_is_repeated_without_doubles(folder: Path) -> None:
    """Without its marker file the data counts as incomplete; seeding again adds no duplicates."""
    person = await prepared(folder)
    (folder / "seeded").unlink()
    assert await prepared(folder) == person
    async with stored(folder) as store:
        assert len(await store.load_messages(key_of(person))) == 4
        assert len(await store.list_conversations(USER_ID, person.coaches[0].coach_id)) == 1


async def test_a_deleted_conversation_is_not_brought_back(folder: Path) -> None:
    """The latest remaining conversation is used instead, or a new one."""
    person = await prepared(folder)
    async with stored(folder) as store:
        await store.delete_conversation(key_of(person))
    second = await prepared(folder)
    assert second.conversation_id != CONVERSATION_ID
    assert await prepared(folder) == second


async def test_a_database_that_was_deleted_is_filled_again(folder: Path) -> None:
    """The marker file alone proves nothing."""
    await prepared(folder)
    remove_database(folder)
    person = await prepared(folder)
    async with stored(folder) as store:
        assert len(await store.load_messages(key_of(person))) == 4


def test_the_coaches_have_every_attribute_that_the_prompt_knows() -> None:
    """Sections 1.4 and 5 of the existing system: the demo must leave no section of the prompt empty."""
    path = COACHSTREAM / "src/coachstream/local/demo/coaches.json"
    for coach in msgspec.json.decode(path.read_bytes()):
        assert set(coach) == {
            "coach_id",
            "coach_name",
            "coach_description",
            "selected_personality",
            "selected_methodology",
            "technical_config",
            "generated_prompts",
            "modification_capabilities",
            "metadata",
        }
        assert all(len(prompt) >= 50 for prompt in coach["generated_prompts"].values())
        assert len(coach["generated_prompts"]) == 6
        assert {"safety_profile", "methodology_profile", "coach_creator_session_summary"} <= set(
            coach["metadata"]
        )


async def test_every_user_of_a_database_gets_their_own_demo(folder: Path) -> None:
    """A pool user who signs in on SQLite has their own conversation, separate from the demo user's."""
    demo, kim = await prepared(folder), await prepared(folder, user_id="kim/..")
    assert kim.user_id == kim.name == "kim/.."
    assert kim.coaches == demo.coaches
    async with stored(folder) as store:
        assert (
            len(await store.load_messages(key_of(kim))) == len(await store.load_messages(key_of(demo))) == 4
        )
    recall = SqliteRecall(SqliteRecallSettings(folder).path)
    types = {match.record_type for match in await recall.search("kim/..", "squat knee", limit=8)}
    assert types == {"methodology", "workout_summary"}
