"""Items as the existing functions write them, oddities included (existing system, sections 1.2 to 1.5).

Invented content in the real shapes: camelCase mixed with snake_case, numbers in place of strings, undeclared
attributes, missing lists, a message that is a date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from coachstream.conversation.model import ConversationKey

KEY = ConversationKey(
    "V1StGXR8_Z5jdHi6B-myT", "user_V1StGXR8_Z5jdHi6B-myT_coach_main", "conv_1758900000000_k3j9x0abc"
)

PK = f"user#{KEY.user_id}"

CONVERSATION_SK = f"coachConversation#{KEY.coach_id}#{KEY.conversation_id}"

A_DATE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{3})?Z?")
"""Texts that the existing functions parse as dates, anywhere in an item."""

COACH: Mapping[str, object] = {
    "pk": PK,
    "sk": f"coach#{KEY.coach_id}",
    "entityType": "coachConfig",
    "createdAt": "2025-09-20T08:00:00.000Z",
    "updatedAt": "2025-09-27T18:21:07.412Z",
    "attributes": {
        "coach_id": KEY.coach_id,
        "coach_name": "Mara",
        "selected_personality": {
            "primary_template": "marcus",
            "blending_weights": {"primary": Decimal("0.7"), "secondary": Decimal("0.3")},
        },
        "technical_config": {
            "methodology": "comptrain",
            "training_frequency": 5,
            "equipment_available": {"barbell", "rings"},
            "time_constraints": {"session_duration": 60, "morning_preferred": True},
        },
        "generated_prompts": {"personality_prompt": "You are Mara."},
        "metadata": {
            "version": "1.0",
            "total_conversations": 3,
            "user_satisfaction": None,
            "safety_profile": {"experienceLevel": "advanced", "injuries": ["left knee"]},
        },
        "a_later_idea": {"weights": [Decimal("1.5"), 2, None]},
    },
}

MESSAGES: list[object] = [
    {
        "id": "msg_1758900001000_user",
        "role": "user",
        "content": "Hi Mara!",
        "timestamp": "2025-09-26T15:20:01.000Z",
    },
    {
        "id": "msg_1758900009000_assistant",
        "role": "assistant",
        "content": "Hello! Ready to lift? 💪",
        "timestamp": "2025-09-26T15:20:09.000Z",
        "metadata": {"model": "claude-sonnet-4", "processingTime": 8123, "tokens": 312},
    },
    # A message that consists of a date is parsed as a date, and written back as this text.
    {
        "id": "msg_1758900060000_user",
        "role": "user",
        "content": "2025-10-01T06:00:00.000Z",
        "timestamp": "2025-09-26T15:21:00.000Z",
    },
    # Both got their ids in the same millisecond; their order is that of the list.
    {
        "id": "msg_1758900070000_user",
        "role": "user",
        "content": "Thanks",
        "timestamp": "2025-09-26T15:21:10.000Z",
        "messageType": "text",
    },
    {
        "id": "msg_1758900070000_assistant",
        "role": "assistant",
        "content": "Any time.",
        "timestamp": "2025-09-26T15:21:10.000Z",
    },
]

CONVERSATION: Mapping[str, object] = {
    "pk": PK,
    "sk": CONVERSATION_SK,
    "entityType": "coachConversation",
    "createdAt": "2025-09-26T15:20:00.000Z",
    "updatedAt": "2025-09-26T15:21:10.000Z",
    "attributes": {
        "conversationId": KEY.conversation_id,
        "coachId": KEY.coach_id,
        "userId": KEY.user_id,
        "title": "Friday, 3:20 PM",
        "messages": MESSAGES,
        # Left behind by the rename endpoint.
        "tags": ["stray"],
        "isActive": False,
        "mode": "chat",
        "metadata": {
            "startedAt": "2025-09-26T15:20:00.000Z",
            "lastActivity": "2025-09-26T15:21:10.000Z",
            "totalMessages": 5,
            "isActive": True,
            "title": "an earlier one",
        },
    },
}

MEMORY: Mapping[str, object] = {
    "pk": PK,
    "sk": "userMemory#user_memory_1758900000000_a1b2c3d4e",
    "entityType": "userMemory",
    "createdAt": "2025-09-26T15:20:30.000Z",
    "updatedAt": "2025-09-26T15:20:30.000Z",
    "attributes": {
        "memoryId": "user_memory_1758900000000_a1b2c3d4e",
        "userId": KEY.user_id,
        "coachId": None,
        "content": "Trains before breakfast",
        "memoryType": "preference",
        "metadata": {
            "createdAt": "2025-09-26T15:20:30.000Z",
            "usageCount": 4,
            "source": "explicit_request",
            "importance": "high",
            "tags": ["schedule", "frequently_used"],
            "lifecycle": {"stage": "fresh"},
        },
    },
}


def dates_of(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Every value that is a date according to its name, with that name."""
    if isinstance(value, Mapping):
        for inner, entry in value.items():
            yield from dates_of(entry, inner)
    elif isinstance(value, list):
        for entry in value:
            yield from dates_of(entry, name)
    elif re.search(r"(At|timestamp|lastActivity|lastUsed)$", name) and name != "expiresAt":
        yield name, value
