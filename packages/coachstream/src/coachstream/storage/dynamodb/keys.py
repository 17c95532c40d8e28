"""The keys of the items: those of the existing system (its section 1.2), and ours beside them.

| item | sk |
|---|---|
| a message | `coachMessage#<conversationId>#<messageId>` |
| a client's name for a message | `coachMessageClaim#<conversationId>#<clientMessageId>` |
| which reply a message has | `coachMessageAnswer#<conversationId>#<messageId>` |
| which run of the conversation is not finished, and its newest message | `coachTurn#<conversationId>` |
| an entry in the log of a run | `coachRun#<conversationId>#<runId>#<number, 8 digits>` |

All of a user's items are in one partition, `user#<userId>`. The last four have no `entityType`, so they are
in no index. No prefix of ours is one that the existing functions query.
"""

from __future__ import annotations

import msgspec

from coachstream.conversation.errors import CoachConfigNotFound, ConversationNotFound, RunNotFound
from coachstream.conversation.model import ConversationKey

SEPARATOR = "#"

AFTER_SEPARATOR = "$"
"""The next character: what begins with `x#` lies between `x#` and `x$`."""

MAX_NAME_BYTES = 256
"""Of one id. Ids come from paths and can be anything; DynamoDB refuses keys that are too long."""

MOST_ENTRIES = 10**8
"""Of one log; their numbers sort as texts."""

WORKOUTS = "workout#"

COACHES = "coach#"
MEMORIES = "userMemory#"


class ItemKey(msgspec.Struct, frozen=True):
    """Partition and sort key of one item."""

    pk: str
    sk: str


def partition(user_id: str) -> str:
    """The partition of a user's items."""
    return f"user#{user_id}"


def coach_key(user_id: str, coach_id: str) -> ItemKey:
    """Raises `CoachConfigNotFound` for ids that no coach can have."""
    if not (is_name(user_id) and is_name(coach_id)):
        raise CoachConfigNotFound
    return ItemKey(partition(user_id), COACHES + coach_id)


def conversation_key(key: ConversationKey) -> ItemKey:
    """Raises `ConversationNotFound` for ids that no conversation can have.

    With a separator in it an id could name another conversation's items.
    """
    if not (is_name(key.user_id) and is_name(key.coach_id) and is_name(key.conversation_id)):
        raise ConversationNotFound
    return ItemKey(partition(key.user_id), conversations_prefix(key.coach_id) + key.conversation_id)


def conversations_prefix(coach_id: str) -> str:
    """What the sort keys of a coach's conversations begin with."""
    return f"coachConversation#{coach_id}#"


def message_key(key: ConversationKey, message_id: str) -> ItemKey:
    """One message."""
    return ItemKey(partition(key.user_id), messages_prefix(key) + message_id)


def messages_prefix(key: ConversationKey) -> str:
    """What the sort keys of a conversation's messages begin with; the rest is the id, which sorts by time."""
    return f"coachMessage#{key.conversation_id}#"


def message_claim_key(key: ConversationKey, client_message_id: str) -> ItemKey:
    """Which message has this client's name."""
    return ItemKey(partition(key.user_id), message_claims_prefix(key) + client_message_id)


def message_claims_prefix(key: ConversationKey) -> str:
    """What the sort keys of a conversation's message claims begin with."""
    return f"coachMessageClaim#{key.conversation_id}#"


def reply_index_key(key: ConversationKey, user_message_id: str) -> ItemKey:
    """Which reply this user message has."""
    return ItemKey(partition(key.user_id), answers_prefix(key) + user_message_id)


def answers_prefix(key: ConversationKey) -> str:
    """What the sort keys of a conversation's answers begin with."""
    return f"coachMessageAnswer#{key.conversation_id}#"


def unfinished_run_key(key: ConversationKey) -> ItemKey:
    """Which run of the conversation is not finished."""
    return ItemKey(partition(key.user_id), f"coachTurn#{key.conversation_id}")


def log_entry_key(key: ConversationKey, run_id: str, number: int) -> ItemKey:
    """One entry in the log of a run; raises like `log_prefix`."""
    return ItemKey(partition(key.user_id), f"{log_prefix(key, run_id)}{number:08d}")


def log_prefix(key: ConversationKey, run_id: str) -> str:
    """What the sort keys of a log's entries begin with. Raises `RunNotFound` for ids that no run can have."""
    if not is_name(run_id):
        raise RunNotFound
    return f"{logs_prefix(key)}{run_id}#"


def logs_prefix(key: ConversationKey) -> str:
    """What the sort keys of the entries of all logs of a conversation begin with."""
    return f"coachRun#{key.conversation_id}#"


def memory_key(user_id: str, memory_id: str) -> ItemKey:
    """One memory."""
    return ItemKey(partition(user_id), MEMORIES + memory_id)


def workout_key(user_id: str, workout_id: str) -> ItemKey:
    """One workout."""
    return ItemKey(partition(user_id), WORKOUTS + workout_id)


def end_of(prefix: str) -> str:
    """The first sort key behind all that begin with a prefix that ends with the separator."""
    return prefix.removesuffix(SEPARATOR) + AFTER_SEPARATOR


def is_name(text: str) -> bool:
    """Whether an id can be part of a key."""
    if not text or SEPARATOR in text:
        return False
    try:
        return len(text.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False
