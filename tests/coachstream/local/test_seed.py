from __future__ import annotations

import re
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from coachstream.conversation.model import ConversationChange, ConversationKey, Role
from coachstream.local.demo.seed import CONVERSATION_ID, USER_ID, Demo, seed
from coachstream.recall.sqlite import SqliteRecall
from coachstream.settings import IdentityProvider, Model, Recall, Settings, Store
from coachstream.storage.sqlite import SqliteStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(Store.SQLITE, Model.DEMO, IdentityProvider.LOCAL, tmp_path, Recall.SQLITE)


def key_of(demo: Demo, conversation_id: str = CONVERSATION_ID) -> ConversationKey:
    return ConversationKey(demo.user_id, demo.coaches[0].coach_id, conversation_id)


async def test_a_first_start_finds_somebody_to_talk_to_and_something_to_talk_about(
    settings: Settings,
) -> None:
    """Two coaches, memories, workouts of the last weeks, a conversation, and passages for the recall."""
    demo = await seed(settings, now=NOW)
    assert re.fullmatch(r"[A-Za-z0-9_-]{21}", demo.user_id)
    main, other = demo.coaches
    assert main.coach_id == f"user_{demo.user_id}_coach_main"
    assert re.fullmatch(rf"user_{demo.user_id}_coach_\d+", other.coach_id)
    async with aclosing(SqliteStore(settings.database)) as store:
        coaches = [await store.load_coach(USER_ID, coach.coach_id) for coach in demo.coaches]
        assert [coach.name for coach in coaches] == [main.coach_name, other.coach_name]
        assert await store.load_memories(USER_ID, main.coach_id, limit=10)
        workouts = await store.load_recent_workouts(USER_ID, limit=10)
        assert all(NOW - timedelta(days=30) < workout.completed_at < NOW for workout in workouts)
        assert len(workouts) == 6
        messages = await store.load_messages(key_of(demo))
        assert [message.role for message in messages] == [Role.USER, Role.ASSISTANT] * 2
        assert [message.timestamp for message in messages] == sorted(m.timestamp for m in messages)
    recall = SqliteRecall(settings.recall_database)
    types = {match.record_type for match in await recall.search(USER_ID, "squat knee", limit=8)}
    assert types == {"methodology", "workout_summary"}


async def test_a_second_start_changes_nothing(settings: Settings) -> None:
    """What was renamed stays renamed, and dates do not move."""
    demo = await seed(settings, now=NOW)
    async with aclosing(SqliteStore(settings.database)) as store:
        await store.change_conversation(key_of(demo), ConversationChange(title="Mine"))
        before = await store.load_recent_workouts(USER_ID, limit=10)
    assert await seed(settings, now=NOW + timedelta(days=5)) == demo
    async with aclosing(SqliteStore(settings.database)) as store:
        assert (await store.get_conversation(key_of(demo))).title == "Mine"
        assert await store.load_recent_workouts(USER_ID, limit=10) == before


async def test_a_first_start_that_was_interrupted_is_repeated_without_doubles(settings: Settings) -> None:
    """Without its note the data counts as unfinished; writing it again adds nothing."""
    demo = await seed(settings, now=NOW)
    (settings.data_dir / "seeded").unlink()
    assert await seed(settings, now=NOW) == demo
    async with aclosing(SqliteStore(settings.database)) as store:
        assert len(await store.load_messages(key_of(demo))) == 4
        assert len(await store.list_conversations(USER_ID, demo.coaches[0].coach_id)) == 1


async def test_a_deleted_conversation_is_not_brought_back(settings: Settings) -> None:
    """The latest one takes its place, or a new one where none is left."""
    demo = await seed(settings, now=NOW)
    async with aclosing(SqliteStore(settings.database)) as store:
        await store.delete_conversation(key_of(demo))
    second = await seed(settings, now=NOW)
    assert second.conversation_id != CONVERSATION_ID
    assert await seed(settings, now=NOW) == second


async def test_a_database_that_was_deleted_is_filled_again(settings: Settings) -> None:
    """The note alone proves nothing."""
    await seed(settings, now=NOW)
    for file in settings.data_dir.glob("conversations.db*"):
        if file.is_file():
            file.unlink()
    demo = await seed(settings, now=NOW)
    async with aclosing(SqliteStore(settings.database)) as store:
        assert len(await store.load_messages(key_of(demo))) == 4


def test_the_coaches_have_every_attribute_that_the_prompt_knows() -> None:
    """Sections 1.4 and 5 of the existing system: a demo that leaves no section of the prompt empty."""
    path = Path(__file__).parents[3] / "src/coachstream/local/demo/coaches.json"
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
