"""The stored shape of a memory, which all stores share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.model import Importance, Memory, MemorySource
from coachstream.conversation.prompt.coach import parse_memory
from coachstream.storage.memory_attributes import memory_attributes

MOMENTS = st.integers(0, 253_300_000_000_000).map(
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text == text.strip())
MEMORIES = st.builds(
    Memory,
    id=TEXTS,
    content=TEXTS,
    memory_type=st.sampled_from(["preference", "goal", "constraint", "instruction", "context"]),
    created_at=MOMENTS,
    coach_id=st.none() | TEXTS,
    last_used=st.none() | MOMENTS,
    usage_count=st.integers(0, 10**9),
    tags=st.lists(TEXTS, max_size=4).map(tuple),
)


def test_attributes_are_those_of_the_existing_system() -> None:
    """All attributes have its names and values, and times its one format."""
    memory = Memory(
        id="m-1",
        content="Hates burpees",
        memory_type="preference",
        importance=Importance.HIGH,
        created_at=datetime(2026, 3, 1, 10, tzinfo=UTC),
        coach_id="coach-1",
        last_used=datetime(2026, 3, 2, 10, 0, 0, 7_999, tzinfo=UTC),
        usage_count=3,
        tags=("preference", "helpful"),
        source=MemorySource.EXPLICIT_REQUEST,
    )
    assert memory_attributes("user-1", memory) == {
        "memoryId": "m-1",
        "userId": "user-1",
        "coachId": "coach-1",
        "content": "Hates burpees",
        "memoryType": "preference",
        "metadata": {
            "createdAt": "2026-03-01T10:00:00.000Z",
            "usageCount": 3,
            "source": "explicit_request",
            "importance": "high",
            "tags": ["preference", "helpful"],
            "lastUsed": "2026-03-02T10:00:00.007Z",
        },
    }


def test_what_is_not_known_is_null_or_left_out() -> None:
    """A null coach means any coach; a memory that was never used has no `lastUsed`."""
    attributes = memory_attributes(
        "user-1", Memory("m-1", "x", "goal", Importance.LOW, datetime(2026, 3, 1, tzinfo=UTC))
    )
    assert attributes["coachId"] is None
    assert attributes["metadata"] == {
        "createdAt": "2026-03-01T00:00:00.000Z",
        "usageCount": 0,
        "source": "conversation",
        "importance": "low",
        "tags": [],
    }


@given(MEMORIES)
def test_a_memory_is_read_as_it_was_written(memory: Memory) -> None:
    """Also through JSON. Only surrounding whitespace, which these texts do not have, would be lost."""
    attributes = memory_attributes("user-1", memory)
    assert parse_memory(attributes) == memory
    assert parse_memory(msgspec.json.decode(msgspec.json.encode(attributes))) == memory
