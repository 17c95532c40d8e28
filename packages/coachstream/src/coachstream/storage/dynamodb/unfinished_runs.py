"""The item that names a conversation's unfinished run and its newest message.

Both are in one item, because the beginning and end of each run write it anyway: a condition on it ensures at
no extra cost that a new message sorts after all others, however long the conversation is. It has

- `runId` while a run is unfinished, and `coachId`;
- `newestId`: no message of the conversation has a greater id. It is missing if an earlier version released
  the conversation, or another program created it; then it is looked up once (`history.newest_id`);
- `isDeleted` from the first step of a deletion, after which no run can begin or finish, and `tombstone`, the
  sort key of the log entry that ended the run.

The item's key does not have the coach. An item of another coach's conversation with the same id does not
block this one, which could neither read nor finish its run.
"""

from __future__ import annotations

import msgspec

from coachstream.conversation.ids import first_message_id, moment_of, time_in
from coachstream.conversation.model import ConversationKey, Message
from coachstream.conversation.prompt.records import as_text
from coachstream.conversation.quotas import Spent
from coachstream.storage.dynamodb.attribute_values import Item
from coachstream.storage.dynamodb.keys import unfinished_run_key
from coachstream.storage.dynamodb.log_items import is_of_coach
from coachstream.storage.dynamodb.quotas import adding
from coachstream.storage.dynamodb.requests import Delete, Update

_IS_FREE = "(attribute_not_exists(#runId) OR #coachId <> :coach) AND attribute_not_exists(#isDeleted)"
_IS_THIS_RUN = "#runId = :run AND #coachId = :coach"


class UnfinishedRun(msgspec.Struct, frozen=True):
    """The content of the item.

    Attributes:
        run_id: the unfinished run; None if there is none. Items of earlier versions name none.
        newest_id: an upper bound of the conversation's message ids, if it is stored.
        is_deleted: whether the conversation is being deleted.
        tombstone: the sort key of the tombstone that ended the run.
    """

    run_id: str | None = None
    newest_id: str | None = None
    is_deleted: bool = False
    tombstone: str | None = None


def unfinished_run_in(item: Item | None, key: ConversationKey) -> UnfinishedRun:
    """Read the item, if there is one."""
    if item is None:
        return UnfinishedRun()
    newest_id = as_text(item.get("newestId")) or None
    if not is_of_coach(item, key):
        return UnfinishedRun(newest_id=newest_id)
    return UnfinishedRun(
        run_id=as_text(item.get("runId")) or None,
        newest_id=newest_id,
        is_deleted=item.get("isDeleted") is True,
        tombstone=as_text(item.get("tombstone")) or None,
    )


def having_no_messages(key: ConversationKey) -> Update:
    """The write that records that a new conversation has no messages."""
    return Update(
        unfinished_run_key(key),
        "SET #newestId = if_not_exists(#newestId, :none) REMOVE #ttl",
        values={":none": first_message_id(moment_of(0))},
    )


def taking(key: ConversationKey, run_id: str, newest_id: str, *, looked_up: bool) -> Update:
    """The write that makes a run the conversation's unfinished one, if it has none.

    Args:
        key: the conversation.
        run_id: the run.
        newest_id: the id of the run's new message, or an upper bound of all ids; the condition fails if
            another message was stored since.
        looked_up: whether the item has no newest id, so that it was looked up.
    """
    is_newest = "attribute_not_exists(#newestId)" if looked_up else "#newestId < :newest"
    return Update(
        unfinished_run_key(key),
        "SET #runId = :run, #coachId = :coach, #newestId = :newest",
        f"{_IS_FREE} AND {is_newest}",
        {":run": run_id, ":coach": key.coach_id, ":newest": newest_id},
        returns_existing=True,
    )


def taking_after(key: ConversationKey, run_id: str, newest_id: str, *, known: str | None) -> Update:
    """Like `taking`, if no message was stored and no version chosen since the newest id was read."""
    taken = taking(key, run_id, newest_id, looked_up=known is None)
    if known is None:
        return taken
    condition, values = f"{_IS_FREE} AND #newestId = :known", {**taken.values, ":known": known}
    return msgspec.structs.replace(taken, condition=condition, values=values)


def noting_choice(key: ConversationKey, newest_id: str, *, known: str | None) -> Update:
    """The write that makes others find out that a version was chosen, on the same condition."""
    is_same = "attribute_not_exists(#newestId)" if known is None else "#newestId = :known"
    values = {":coach": key.coach_id, ":newest": newest_id} | ({} if known is None else {":known": known})
    return Update(unfinished_run_key(key), "SET #newestId = :newest", f"{_IS_FREE} AND {is_same}", values)


def bound_after(newest_id: str) -> str:
    """An upper bound that is greater than another one, and than every id of its millisecond."""
    return first_message_id(moment_of((time_in(newest_id) or 0) + 1))


def advancing(key: ConversationKey, run_id: str, newest_id: str) -> Update:
    """The write that records a new message that waits for the run, if it is newer than all others.

    If the item has no newest id, the waiting message is the newest, because its id is later than the run.
    """
    return Update(
        unfinished_run_key(key),
        "SET #newestId = :newest",
        f"{_IS_THIS_RUN} AND (attribute_not_exists(#newestId) OR #newestId < :newest)",
        {":run": run_id, ":coach": key.coach_id, ":newest": newest_id},
        returns_existing=True,
    )


def freeing(key: ConversationKey, run_id: str, reply: Message | None, spent: Spent | None) -> Update:
    """The write that releases the conversation from its run, and records its reply as the newest message.

    Without a reply, or if other messages wait, the newest message stays the same: pass None. What the run has
    spent, if that is given, is counted here (`quotas`).
    """
    values: dict[str, object] = {":run": run_id, ":coach": key.coach_id}
    removed, rest, condition = "#runId", "", _IS_THIS_RUN
    if reply is not None:
        rest, condition = " SET #newestId = :reply", f"{_IS_THIS_RUN} AND #newestId < :reply"
        values[":reply"] = reply.id
    if spent is not None:
        added, old, more = adding(spent)
        removed, rest = f"{removed}, {old}", f"{rest} ADD {added}"
        values |= more
    return Update(
        unfinished_run_key(key), f"REMOVE {removed}{rest}", condition, values, returns_existing=True
    )


def forgetting(key: ConversationKey, run_id: str) -> Delete:
    """The write that releases a conversation whose newest message is unknown."""
    return Delete(unfinished_run_key(key), _IS_THIS_RUN, {":run": run_id, ":coach": key.coach_id})


def clearing(key: ConversationKey, *, keeps_spent: bool, ttl: int) -> Update | Delete:
    """The last write of a deletion: only what the conversation has spent is kept, while it counts."""
    if not keeps_spent:
        return Delete(unfinished_run_key(key))
    return Update(
        unfinished_run_key(key),
        "SET #ttl = :ttl REMOVE #coachId, #isDeleted, #tombstone, #newestId",
        values={":ttl": ttl},
    )


def deleting(key: ConversationKey, run_id: str | None, tombstone: str | None) -> Update:
    """The write that blocks all other runs, if this is still the unfinished run."""
    values: dict[str, object] = {":coach": key.coach_id, ":yes": True}
    condition = "attribute_not_exists(#runId) OR #coachId <> :coach"
    change = "SET #coachId = :coach, #isDeleted = :yes"
    if run_id is not None:
        values |= {":run": run_id, ":tombstone": tombstone}
        condition = _IS_THIS_RUN
        change += ", #tombstone = :tombstone"
    return Update(unfinished_run_key(key), f"{change} REMOVE #runId", condition, values)
