"""The keys of the items: those of the existing system (its section 1.2), and our additional ones.

| item | sk |
|---|---|
| a message | `coachMessage#<conversationId>#<messageId>` |
| a message of an older version | `coachVersion#<conversationId>#<messageId>` |
| an idempotency key of a message | `coachMessageClaim#<conversationId>#<clientMessageId>` |
| the reply index: the reply to a message | `coachMessageAnswer#<conversationId>#<messageId>` |
| the unfinished run, the queue, the newest message, tokens of a day | `coachTurn#<conversationId>` |
| an entry in the log of a run | `coachRun#<conversationId>#<runId>#<number, 8 digits>` |
| what a user has taken of the quotas | `coachQuota` |

All of a user's items are in one partition, `user#<userId>`. All kinds but the first have no `entityType`, so
no index contains them. The existing functions query none of our prefixes.
"""

from __future__ import annotations

import msgspec

from coachstream.conversation.errors import CoachConfigNotFound, ConversationNotFound, RunNotFound
from coachstream.conversation.model import ConversationKey

SEPARATOR = "#"

AFTER_SEPARATOR = "$"
"""The next character: keys that begin with `x#` sort between `x#` and `x$`."""

MAX_NAME_BYTES = 256
"""The maximum length of an id. Ids come from URLs and can be anything; DynamoDB limits key lengths."""

MOST_ENTRIES = 10**8
"""The maximum number of entries in a log; their numbers have 8 digits, so that they sort as text."""

WORKOUTS = "workout#"

COACHES = "coach#"
CONVERSATIONS = "coachConversation#"
MEMORIES = "userMemory#"

_MESSAGES = "coachMessage#"
_VERSIONS = "coachVersion#"
_MESSAGE_CLAIMS = "coachMessageClaim#"
_REPLY_INDEX = "coachMessageAnswer#"
UNFINISHED_RUNS = "coachTurn#"
LOG_ENTRIES = "coachRun#"
SUMMARIES = "conversation#"
SUMMARY_SUFFIX = "#summary"

CONVERSATION_PARTS = (
    *(_MESSAGES, _VERSIONS, _MESSAGE_CLAIMS, _REPLY_INDEX, LOG_ENTRIES, UNFINISHED_RUNS, SUMMARIES),
)
"""The prefixes of a conversation's items, except its own one; in each, the conversation's id follows."""


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

    An id that contains a separator could name another conversation's items.
    """
    if not (is_name(key.user_id) and is_name(key.coach_id) and is_name(key.conversation_id)):
        raise ConversationNotFound
    return ItemKey(partition(key.user_id), conversations_prefix(key.coach_id) + key.conversation_id)


def conversations_prefix(coach_id: str) -> str:
    """The sort key prefix of a coach's conversations."""
    return f"{CONVERSATIONS}{coach_id}#"


def message_key(key: ConversationKey, message_id: str) -> ItemKey:
    """The key of a message."""
    return ItemKey(partition(key.user_id), messages_prefix(key) + message_id)


def messages_prefix(key: ConversationKey) -> str:
    """The sort key prefix of a conversation's messages; the rest is the id, which sorts by time."""
    return f"{_MESSAGES}{key.conversation_id}#"


def version_key(key: ConversationKey, message_id: str) -> ItemKey:
    """The key of a message of an older version."""
    return ItemKey(partition(key.user_id), versions_prefix(key) + message_id)


def versions_prefix(key: ConversationKey) -> str:
    """The sort key prefix of a conversation's older messages; the rest is the id, as for messages."""
    return f"{_VERSIONS}{key.conversation_id}#"


def message_claim_key(key: ConversationKey, client_message_id: str) -> ItemKey:
    """The key of the item that maps an idempotency key to its message."""
    return ItemKey(partition(key.user_id), message_claims_prefix(key) + client_message_id)


def message_claims_prefix(key: ConversationKey) -> str:
    """The sort key prefix of a conversation's message claims."""
    return f"{_MESSAGE_CLAIMS}{key.conversation_id}#"


def reply_index_key(key: ConversationKey, user_message_id: str) -> ItemKey:
    """The key of the item that maps a user message to its reply."""
    return ItemKey(partition(key.user_id), reply_index_prefix(key) + user_message_id)


def reply_index_prefix(key: ConversationKey) -> str:
    """The sort key prefix of a conversation's reply index."""
    return f"{_REPLY_INDEX}{key.conversation_id}#"


def unfinished_run_key(key: ConversationKey) -> ItemKey:
    """The key of the item that names the conversation's unfinished run."""
    return ItemKey(partition(key.user_id), f"{UNFINISHED_RUNS}{key.conversation_id}")


def quota_key(user_id: str) -> ItemKey:
    """The key of what a user has taken of the quotas."""
    return ItemKey(partition(user_id), "coachQuota")


def log_entry_key(key: ConversationKey, run_id: str, number: int) -> ItemKey:
    """The key of a log entry; raises like `log_prefix`."""
    return ItemKey(partition(key.user_id), f"{log_prefix(key, run_id)}{number:08d}")


def log_prefix(key: ConversationKey, run_id: str) -> str:
    """The sort key prefix of a run's log entries. Raises `RunNotFound` for ids that no run can have."""
    if not is_name(run_id):
        raise RunNotFound
    return f"{logs_prefix(key)}{run_id}#"


def logs_prefix(key: ConversationKey) -> str:
    """The sort key prefix of all log entries of a conversation."""
    return f"{LOG_ENTRIES}{key.conversation_id}#"


def memory_key(user_id: str, memory_id: str) -> ItemKey:
    """The key of a memory."""
    return ItemKey(partition(user_id), MEMORIES + memory_id)


def workout_key(user_id: str, workout_id: str) -> ItemKey:
    """The key of a workout."""
    return ItemKey(partition(user_id), WORKOUTS + workout_id)


def profile_key(user_id: str) -> ItemKey:
    """The key of a user's profile."""
    return ItemKey(partition(user_id), "profile")


def summary_key(key: ConversationKey) -> ItemKey:
    """The key of a conversation's summary. Raises like `conversation_key`."""
    return ItemKey(conversation_key(key).pk, f"{SUMMARIES}{key.conversation_id}{SUMMARY_SUFFIX}")


def end_of(prefix: str) -> str:
    """The first sort key after all keys with this prefix, which must end with the separator."""
    return prefix.removesuffix(SEPARATOR) + AFTER_SEPARATOR


def is_name(text: str) -> bool:
    """Whether an id can be part of a key."""
    if not text or SEPARATOR in text:
        return False
    try:
        return len(text.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False
