"""A new conversation for every turn, with the same history for every contender, as each of them stores it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from coachstream.conversation.model import ConversationKey, Message, format_timestamp
from contracts.store_records import COACH, conversation, reply_to, store_reply, user_message, workout
from measuring import user_pool
from measuring.contenders import OURS
from support.dynamodb import Table

EXCHANGES = 5
WORKOUTS = 5


async def seed_records(table: Table) -> None:
    """Store the coach and the workouts."""
    store = table.store()
    await store.put_coach(user_pool.USER, user_pool.COACH, {**COACH, "coach_id": user_pool.COACH})
    for number in range(WORKOUTS):
        completed_at = f"2026-11-{number + 10}T07:00:00.000Z"
        await store.put_workout(user_pool.USER, f"ws_{number}", workout(f"ws_{number}", completed_at))


async def new_conversation(table: Table, contender: str) -> str:
    """Store a conversation with a history and return its id."""
    key = ConversationKey(user_pool.USER, user_pool.COACH, f"conv_{time.time_ns()}")
    messages = [message for number in range(EXCHANGES) for message in _exchange(number)]
    if contender == OURS:
        store = table.store()
        await store.create_conversation(conversation(key))
        for message, reply in zip(messages[::2], messages[1::2], strict=True):
            await store_reply(store, message, reply, key=key)
    elif contender == "node":
        await table.put(_existing(key, messages))
    else:
        await table.put_all(
            {
                "pk": f"conversation#{key.conversation_id}",
                "sk": f"message#{number:019}",
                "role": message.role.value,
                "content": message.content,
            }
            for number, message in enumerate(messages)
        )
    return key.conversation_id


def _exchange(number: int) -> tuple[Message, Message]:
    message = user_message(2 * number, f"How was session {number}? I lifted as planned, five by five.")
    return message, reply_to(message, 2 * number + 1, "Well done. Sleep, eat, and add two kilos next time.")


def _existing(key: ConversationKey, messages: list[Message]) -> Mapping[str, object]:
    """The item of the existing system, which holds all messages."""
    now = format_timestamp(messages[-1].timestamp)
    return {
        "pk": f"user#{key.user_id}",
        "sk": f"coachConversation#{key.coach_id}#{key.conversation_id}",
        "entityType": "coachConversation",
        "createdAt": now,
        "updatedAt": now,
        "attributes": {
            "conversationId": key.conversation_id,
            "coachId": key.coach_id,
            "userId": key.user_id,
            "title": "Squats",
            "messages": [
                {
                    "id": message.id,
                    "role": message.role.value,
                    "content": message.content,
                    "timestamp": format_timestamp(message.timestamp),
                }
                for message in messages
            ],
            "metadata": {"startedAt": now, "lastActivity": now, "totalMessages": len(messages)},
        },
    }
