"""What every `SemanticMemory` must do: a suite that SQLite and Pinecone pass.

A subclass provides `memory_of`, a fixture that gives a memory holding the records it is called with:

    class TestMine(SemanticMemoryContract):
        @pytest.fixture
        def memory_of(self) -> MemoryFactory: ...
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coachstream.conversation.model import ConversationKey, Importance, Memory
from coachstream.conversation.ports import SemanticMemory
from coachstream.conversation.prompt.user import ConversationSummary

USER = "user-1"
TALK = ConversationKey(USER, "coach-1", "conv-1")


class StoredRecord(msgspec.Struct, frozen=True):
    """A stored record; `owner` is `None` for the shared methodology."""

    id: str
    text: str
    owner: str | None = None
    record_type: str = "methodology"
    title: str = ""


def a_memory(memory_id: str, *, content: str, tags: tuple[str, ...] = ("helpful",)) -> Memory:
    """A memory with today's date."""
    return Memory(memory_id, content, "preference", Importance.LOW, datetime.now(UTC), tags=tags)


MemoryFactory: TypeAlias = Callable[[list[StoredRecord]], Awaitable[SemanticMemory]]

SQUAT = StoredRecord(
    "squat",
    "When a knee is irritated, squat to a box just above parallel and slow the way down.",
    title="Knee-friendly squatting",
)
ROW = StoredRecord("row", "Start the first strokes of a rowing race hard, then settle into the goal split.")
SLEEP = StoredRecord("sleep", "Seven hours of sleep repair more than any supplement.")
OWN = StoredRecord(
    "own", "Back squat five by five, the knee stayed calm.", owner=USER, record_type="workout_summary"
)
OTHERS = StoredRecord(
    "others", "Squat with a bad knee: secret notes.", owner="user-2", record_type="workout_summary"
)


class SemanticMemoryContract:
    """Search over the user's own and the shared records."""

    async def test_the_best_match_comes_first(self, memory_of: MemoryFactory) -> None:
        """Matches are ordered by score and contain what was stored."""
        memory = await memory_of([ROW, SLEEP, SQUAT])
        matches = await memory.search(USER, "My knee is irritated. Should I squat at all?", limit=5)
        assert matches[0].id == "squat"
        assert matches[0].content == SQUAT.text
        assert matches[0].title == SQUAT.title
        assert matches[0].record_type == "methodology"
        assert matches[0].namespace == "methodology"
        scores = [match.score for match in matches]
        assert scores == sorted(scores, reverse=True)

    async def test_only_the_users_own_and_the_shared_records_are_found(
        self, memory_of: MemoryFactory
    ) -> None:
        """Another user's records are invisible."""
        memory = await memory_of([SQUAT, OWN, OTHERS])
        found = {match.id for match in await memory.search(USER, "squat knee", limit=10)}
        assert found == {"squat", "own"}
        shared = {match.id for match in await memory.search("user-3", "squat knee", limit=10)}
        assert shared == {"squat"}

    async def test_a_user_id_names_only_its_user(self, memory_of: MemoryFactory) -> None:
        """User ids are never prefixes, patterns or namespaces."""
        memory = await memory_of([OWN, OTHERS])
        for user_id in ("user", "user-", "user-%", "*", "", "user_user-1", "USER-1", "methodology"):
            assert list(await memory.search(user_id, "squat knee", limit=10)) == []

    async def test_only_a_users_context_records_are_found(self, memory_of: MemoryFactory) -> None:
        """Summaries are found; memories and other records are not: the prompt gets those another way."""
        types = ["workout_summary", "coach_creator_summary", "conversation_summary"]
        others = ["user_memory", "program_summary", "unknown", ""]
        records = [StoredRecord(f"r-{kind}", "squat", USER, kind) for kind in (*types, *others)]
        memory = await memory_of(records)
        found = {match.record_type for match in await memory.search(USER, "squat", limit=10)}
        assert found == set(types)

    async def test_a_remembered_memory_takes_no_place_in_a_search(self, memory_of: MemoryFactory) -> None:
        """Even a perfect match or a memory saved twice is left out: the prompt gets memories another way."""
        memory = await memory_of([SQUAT, OWN])
        for number in range(4):
            await memory.remember(USER, a_memory(f"m-{number}", content="squat knee"))
            await memory.remember(USER, a_memory(f"m-{number}", content="knee squat"))
        found = await memory.search(USER, "squat knee", limit=2)
        assert {match.id for match in found} == {"squat", "own"}

    async def test_a_conversation_has_one_summary_however_often_it_is_indexed(
        self, memory_of: MemoryFactory
    ) -> None:
        """The newest one, with what its lists say; it is its owner's."""
        memory = await memory_of([])
        first = ConversationSummary("A knee that hurts.", current_goals=("Squat deep",))
        newest = ConversationSummary("A knee that heals.", key_insights=("Rests little",))
        for summary in (first, newest, newest):
            await memory.remember_summary(TALK, summary)
        [found] = await memory.search(USER, "How is my knee?", limit=5)
        assert found.record_type == "conversation_summary"
        assert found.content == "A knee that heals.\ninsight: Rests little"
        assert list(await memory.search("user-2", "How is my knee?", limit=5)) == []

    async def test_a_deleted_conversation_s_summary_is_forgotten_and_no_other(
        self, memory_of: MemoryFactory
    ) -> None:
        """Neither that of another conversation, nor another user's of the same name."""
        memory = await memory_of([OWN])
        others = ConversationKey(USER, "coach-1", "conv-2"), ConversationKey("user-2", "coach-1", "conv-1")
        for key in (TALK, *others):
            await memory.remember_summary(key, ConversationSummary(f"A knee of {key.user_id}"))
        for _ in range(2):
            await memory.forget_conversation(TALK.user_id, TALK.conversation_id)
        mine = [match.id for match in await memory.search(USER, "knee", limit=5)]
        assert sorted(mine) == ["conversation_summary_conv-2", "own"]
        assert len(await memory.search("user-2", "knee", limit=5)) == 1

    async def test_a_forgotten_user_has_only_what_others_wrote(self, memory_of: MemoryFactory) -> None:
        """Summaries of conversations are gone; workouts stay, and so do the records of neighbours."""
        neighbours = ("user-", "user-10", "user-2")
        memory = await memory_of([SQUAT, OWN])
        for user_id in (USER, *neighbours):
            await memory.remember(user_id, a_memory("m-1", content="knee"))
            for name in ("conv-1", "conv-2"):
                key = ConversationKey(user_id, "coach-1", name)
                await memory.remember_summary(key, ConversationSummary(f"A knee in {name}"))
        for _ in range(2):
            await memory.forget_user(USER)
        assert {match.id for match in await memory.search(USER, "knee", limit=9)} == {"own", "squat"}
        for user_id in neighbours:
            types = [match.record_type for match in await memory.search(user_id, "knee", limit=9)]
            assert types.count("conversation_summary") == 2

    async def test_a_user_without_records_can_be_forgotten(self, memory_of: MemoryFactory) -> None:
        """Nothing happens, also for an id that no record can have."""
        memory = await memory_of([OWN])
        for user_id in ("nobody", "", "a/b", "%", "ü"):
            await memory.forget_user(user_id)
        assert [match.id for match in await memory.search(USER, "squat", limit=9)] == ["own"]

    async def test_a_remembered_memory_is_its_owners(self, memory_of: MemoryFactory) -> None:
        """It does not replace another user's record with the same id."""
        memory = await memory_of([SQUAT, OWN, OTHERS])
        for record_id in (SQUAT.id, OTHERS.id):
            await memory.remember(USER, a_memory(record_id, content="mine"))
        assert {match.id for match in await memory.search(USER, "squat knee", limit=5)} == {"squat", "own"}
        others = await memory.search("user-2", "squat knee", limit=5)
        assert {match.content for match in others} == {SQUAT.text, OTHERS.text}

    async def test_any_memory_can_be_remembered(self, memory_of: MemoryFactory) -> None:
        """Content, tags and id are treated as data and may be long."""
        memory = await memory_of([SQUAT])
        for number, text in enumerate(
            ("'; DROP TABLE records; --", 'NEAR("a"*)', "💪\u0000\n", "é " * 16_000)
        ):
            await memory.remember(
                USER, a_memory(f"m'\"{number}; --", content=text, tags=(text[:50], "tag: a\ntag: b"))
            )
        assert [match.id for match in await memory.search(USER, "squat", limit=5)] == ["squat"]

    async def test_the_limit_is_kept(self, memory_of: MemoryFactory) -> None:
        """The best matches are returned, whichever namespace they are from."""
        records = [StoredRecord(f"r{n}", f"squat number {n}") for n in range(10)]
        memory = await memory_of([*records, OWN])
        assert len(await memory.search(USER, "squat", limit=4)) == 4

    async def test_nothing_is_found_in_an_empty_memory(self, memory_of: MemoryFactory) -> None:
        """Without records and methodology there are no matches and no error."""
        memory = await memory_of([])
        assert list(await memory.search(USER, "squat", limit=5)) == []

    @settings(
        max_examples=100,
    )
    @given(text=st.text() | st.text("\"'*^-+:(){}[] ANDORNEAT,.0\n\0", max_size=60), limit=st.integers(0, 9))
    @example(text='"', limit=3)
    @example(text='squat" OR namespace:user_user-2 "', limit=3)
    @example(text="title : squat", limit=3)
    @example(text="NEAR(squat knee, 2) AND NOT box* ^squat -knee", limit=3)
    @example(text="squat " * 5000, limit=3)
    @example(text=" ".join(f"word{n}" for n in range(4000)), limit=3)
    @example(text="\ud800 squat", limit=3)
    async def test_any_text_can_be_searched(self, memory_of: MemoryFactory, text: str, limit: int) -> None:
        """User text is plain text, never query syntax, and finds no other user's records."""
        memory = await memory_of([SQUAT, OWN, OTHERS])
        matches = await memory.search(USER, text, limit=limit)
        assert len(matches) <= limit
        assert "others" not in {match.id for match in matches}
