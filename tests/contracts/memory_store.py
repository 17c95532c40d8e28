"""What every `MemoryStore` must do."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from coachstream.conversation.model import Importance, Memory, MemorySource
from contracts.store_records import KEY, NOW, SeedableStore, StoreContract, memory


class MemoryStoreContract(StoreContract):
    """Saving memories and counting their uses."""

    async def test_a_saved_memory_is_loaded_as_it_was_saved(self, store: SeedableStore) -> None:
        """Every field is kept; a memory without a coach is loaded for every coach."""
        saved = Memory(
            id="m-1",
            content='Hates "burpees" 💪\nand says so',
            memory_type="preference",
            importance=Importance.HIGH,
            created_at=NOW - timedelta(days=3),
            coach_id=None,
            last_used=NOW - timedelta(days=1),
            usage_count=3,
            tags=("helpful", "ü"),
            source=MemorySource.EXPLICIT_REQUEST,
        )
        await store.save_memory(KEY.user_id, saved)
        for coach_id in (KEY.coach_id, "coach-2"):
            assert list(await store.load_memories(KEY.user_id, coach_id, limit=5)) == [saved]
        assert list(await store.load_memories("user-2", KEY.coach_id, limit=5)) == []

    async def test_a_memory_of_one_coach_stays_with_that_coach(self, store: SeedableStore) -> None:
        """Other coaches do not load it."""
        await store.save_memory(KEY.user_id, _memory("m-1", coach_id=KEY.coach_id))
        assert len(await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)) == 1
        assert list(await store.load_memories(KEY.user_id, "coach-2", limit=5)) == []

    async def test_saving_a_memory_again_keeps_what_was_counted(self, store: SeedableStore) -> None:
        """A retry changes the content and nothing else."""
        await store.save_memory(KEY.user_id, _memory("m-1"))
        await store.note_memories_used(KEY.user_id, ["m-1"], at=NOW)
        await store.save_memory(KEY.user_id, _memory("m-1", content="Other words"))
        [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert (loaded.content, loaded.usage_count, loaded.last_used) == ("Other words", 1, NOW)

    async def test_the_traits_of_a_memory_can_be_changed(self, store: SeedableStore) -> None:
        """Its content, its source and what was counted stay; of one that is gone, nothing comes back."""
        await store.save_memory(KEY.user_id, _memory("m-1"))
        await store.note_memories_used(KEY.user_id, ["m-1"], at=NOW)
        [before] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        traits = msgspec.structs.replace(
            _memory("m-1", content="Other words", coach_id=KEY.coach_id),
            memory_type="constraint",
            importance=Importance.HIGH,
            tags=("allergy", "ü"),
        )
        for changed in (traits, msgspec.structs.replace(traits, id="unknown")):
            await store.change_memory_traits(KEY.user_id, changed)
            await store.change_memory_traits("user-2", changed)
        assert list(await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)) == [
            msgspec.structs.replace(
                before,
                memory_type="constraint",
                importance=Importance.HIGH,
                tags=("allergy", "ü"),
                coach_id=KEY.coach_id,
            )
        ]
        for user_id, coach_id in ((KEY.user_id, "coach-2"), ("user-2", KEY.coach_id)):
            assert list(await store.load_memories(user_id, coach_id, limit=5)) == []

    async def test_a_deleted_memory_is_gone(self, store: SeedableStore) -> None:
        """Only this memory of this user is deleted; deleting it again, or a missing one, is not an error."""
        for name in ("m-1", "m-2"):
            await store.save_memory(KEY.user_id, _memory(name))
        await store.save_memory("user-2", _memory("m-1"))
        for name in ("m-1", "m-1", "unknown"):
            await store.delete_memory(KEY.user_id, name)
        assert [each.id for each in await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)] == ["m-2"]
        assert [each.id for each in await store.load_memories("user-2", KEY.coach_id, limit=5)] == ["m-1"]

    async def test_uses_are_counted_and_dated(self, store: SeedableStore) -> None:
        """Each listed memory is counted once, even if listed twice; others are not counted."""
        for name in ("m-1", "m-2", "m-3"):
            await store.put_memory(KEY.user_id, name, memory(name, uses=4))
        await store.note_memories_used(KEY.user_id, ["m-1", "m-2", "m-1"], at=NOW)
        loaded = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        counted = {each.id: (each.usage_count, each.last_used) for each in loaded}
        assert counted == {"m-1": (5, NOW), "m-2": (5, NOW), "m-3": (4, None)}

    async def test_no_use_is_lost_under_contention(self, store: SeedableStore) -> None:
        """Twenty concurrent turns with the same memory count twenty uses."""
        await store.put_memory(KEY.user_id, "m-1", memory("m-1"))
        await asyncio.gather(*(store.note_memories_used(KEY.user_id, ["m-1"], at=NOW) for _ in range(20)))
        [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert loaded.usage_count == 20

    async def test_a_memory_that_is_gone_is_not_brought_back_by_counting(self, store: SeedableStore) -> None:
        """Another user's memory is not touched either, and an empty list does nothing."""
        await store.put_memory("user-2", "m-1", memory("m-1"))
        await store.note_memories_used(KEY.user_id, ["m-1"], at=NOW)
        await store.note_memories_used(KEY.user_id, [], at=NOW)
        assert list(await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)) == []
        [others] = await store.load_memories("user-2", KEY.coach_id, limit=5)
        assert others.usage_count == 0

    async def test_a_malformed_counter_is_coerced_and_counted(self, store: SeedableStore) -> None:
        """Whatever value an older function stored, the use is counted and nothing else changes."""
        counts: list[object] = [None, "many", "7", 2.5, -3, True, [], {"n": 4}]
        for number, count in enumerate(counts):
            odd = dict(memory(f"m-{number}"))
            odd["metadata"] = {"usageCount": count, "importance": "low", "tags": ["a"], "source": "odd"}
            await store.put_memory(KEY.user_id, f"m-{number}", odd)
        before = await store.load_memories(KEY.user_id, KEY.coach_id, limit=20)
        await store.note_memories_used(KEY.user_id, [each.id for each in before], at=NOW)
        after = await store.load_memories(KEY.user_id, KEY.coach_id, limit=20)
        assert len(before) == len(counts)
        assert {each.id: each for each in after} == {
            each.id: msgspec.structs.replace(each, usage_count=each.usage_count + 1, last_used=NOW)
            for each in before
        }

    @pytest.mark.parametrize("metadata", [None, "odd", [1], {}], ids=str)
    async def test_a_memory_without_usable_metadata_can_be_counted(
        self, store: SeedableStore, metadata: object
    ) -> None:
        """Missing or malformed metadata is tolerated; the other attributes are kept."""
        odd = dict(memory("m-1", coach_id=KEY.coach_id)) | {"metadata": metadata}
        if metadata is None:
            del odd["metadata"]
        await store.put_memory(KEY.user_id, "m-1", odd)
        for _ in range(2):
            await store.note_memories_used(KEY.user_id, ["m-1"], at=NOW)
        [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert (loaded.usage_count, loaded.last_used) == (2, NOW)
        assert (loaded.content, loaded.memory_type) == ("Remember m-1.", "goal")

    async def test_a_memory_has_the_id_that_it_is_stored_under(self, store: SeedableStore) -> None:
        """A loaded memory can then be counted, whatever id its attributes contain, if any."""
        for name, changes in (("m-1", {"memoryId": "other"}), ("m-2", {}), ("m-3", {"memoryId": None})):
            attributes = {key: value for key, value in memory(name).items() if key != "memoryId"} | changes
            await store.put_memory(KEY.user_id, name, attributes)
        loaded = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert {each.id for each in loaded} == {"m-1", "m-2", "m-3"}
        await store.note_memories_used(KEY.user_id, [each.id for each in loaded], at=NOW)
        loaded = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert [each.usage_count for each in loaded] == [1, 1, 1]

    async def test_memories_with_similar_ids_are_kept_apart(self, store: SeedableStore) -> None:
        """Ids are never prefixes, patterns or quoted text; unknown ids do not prevent counting known ones."""
        names = ["m", "m-1", "m-10", "M-1", "m_1", "%", "m-1' OR '1'='1", 'ü"💪\\', "m-1#2"]
        for name in names:
            await store.save_memory(KEY.user_id, _memory(name, content=f"Memory {name}"))
        used = ["m-1", "%", "unknown", "m-1' OR '1'='1", 'ü"💪\\', "", "m-1#2"]
        await store.note_memories_used(KEY.user_id, used, at=NOW)
        loaded = await store.load_memories(KEY.user_id, KEY.coach_id, limit=20)
        assert {each.id: each.content for each in loaded} == {name: f"Memory {name}" for name in names}
        assert {each.id for each in loaded if each.usage_count == 1} == set(used) & set(names)

    async def test_saving_a_memory_while_it_is_counted_loses_nothing(self, store: SeedableStore) -> None:
        """The new content and every use are stored, in one memory: neither update may be lost."""
        await store.save_memory(KEY.user_id, _memory("m-1"))
        again = _memory("m-1", content="Other words")
        await asyncio.gather(
            *(store.note_memories_used(KEY.user_id, ["m-1"], at=NOW) for _ in range(5)),
            *(store.save_memory(KEY.user_id, again) for _ in range(2)),
        )
        [loaded] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert (loaded.content, loaded.usage_count) == ("Other words", 5)

    async def test_concurrent_equal_saves_create_one_memory(self, store: SeedableStore) -> None:
        """A retry during the first attempt does not create a second memory, and no call fails."""
        await asyncio.gather(*(store.save_memory(KEY.user_id, _memory("m-1")) for _ in range(5)))
        assert list(await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)) == [_memory("m-1")]


def _memory(memory_id: str, *, content: str = "Hates burpees", coach_id: str | None = None) -> Memory:
    return Memory(
        id=memory_id,
        content=content,
        memory_type="preference",
        importance=Importance.MEDIUM,
        created_at=NOW,
        coach_id=coach_id,
    )
