"""The item that names a conversation's unfinished run, its queue and its newest message.

All are in one item, because the beginning and end of each run write it anyway: a condition on it ensures at
no extra cost that a new message sorts after all others, however long the conversation is. It has

- `runId` while a run is unfinished, and `coachId`;
- `newestId`: no message of the conversation has a greater id. It is missing if an earlier version released
  the conversation, or another program created it; then it is looked up once (`history.newest_id`);
- `queue`, the queued runs in their order, if there are or were any. No run begins but the first of them;
- `isDeleted` from the first step of a deletion, after which no run can begin or finish, and `tombstone`, the
  sort key of the log entry that ended the run.

The item's key does not have the coach. An item of another coach's conversation with the same id does not
block this one, which could neither read nor finish its run.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from coachstream.conversation.errors import StorageUnavailable
from coachstream.conversation.ids import first_message_id, moment_of, time_in
from coachstream.conversation.model import ConversationKey, Message
from coachstream.conversation.prompt.records import as_text
from coachstream.conversation.quotas import Spent
from coachstream.conversation.run_queue import QueuedRun, RunQueue
from coachstream.storage.dynamodb.attribute_values import Item
from coachstream.storage.dynamodb.keys import unfinished_run_key
from coachstream.storage.dynamodb.log_items import is_of_coach
from coachstream.storage.dynamodb.quotas import adding, spent_in
from coachstream.storage.dynamodb.requests import Delete, Update

_HAS_NO_QUEUE = "(attribute_not_exists(#queue) OR size(#queue) < :one)"
_IS_FREE = (
    f"((attribute_not_exists(#runId) AND {_HAS_NO_QUEUE}) OR #coachId <> :coach)"
    " AND attribute_not_exists(#isDeleted)"
)
_IS_THIS_RUN = "#runId = :run AND #coachId = :coach"
_WORKS_ON = (
    "#coachId = :coach AND (#runId = :run OR (attribute_not_exists(#runId) AND #queue[0].#runId = :run))"
)
_IS_LATEST = "(attribute_not_exists(#newestId) OR #newestId < :place)"


class UnfinishedRun(msgspec.Struct, frozen=True):
    """The content of the item.

    Attributes:
        run_id: the unfinished run; None if there is none. Items of earlier versions name none.
        newest_id: an upper bound of the conversation's message ids, if it is stored.
        is_deleted: whether the conversation is being deleted.
        tombstone: the sort key of the tombstone that ended the run.
        queued: the queue.
    """

    run_id: str | None = None
    newest_id: str | None = None
    is_deleted: bool = False
    tombstone: str | None = None
    queued: tuple[QueuedRun, ...] = ()

    @property
    def queue(self) -> RunQueue:
        """What the conversation works on."""
        return RunQueue(self.run_id, self.queued)


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
        queued=tuple(_queued_in(item)),
    )


def _queued_in(item: Item) -> Iterator[QueuedRun]:
    found = item.get("queue")
    for each in found if isinstance(found, list) else ():
        try:
            yield msgspec.convert(each, QueuedRun)
        except msgspec.ValidationError:
            # If it were skipped, its message would silently never get a reply.
            raise StorageUnavailable("the queue of a conversation cannot be read") from None


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
        "SET #runId = :run, #coachId = :coach, #newestId = :newest REMOVE #queue",
        f"{_IS_FREE} AND {is_newest}",
        {":run": run_id, ":coach": key.coach_id, ":newest": newest_id, ":one": 1},
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
    values = {":coach": key.coach_id, ":newest": newest_id, ":one": 1}
    values |= {} if known is None else {":known": known}
    return Update(unfinished_run_key(key), "SET #newestId = :newest", f"{_IS_FREE} AND {is_same}", values)


def bound_after(newest_id: str) -> str:
    """An upper bound that is greater than another one, and than every id of its millisecond."""
    return first_message_id(moment_of((time_in(newest_id) or 0) + 1))


def advancing(key: ConversationKey, behind: str, newest_id: str) -> Update:
    """The write that records a new message that waits, if it is newer than all others.

    If the item has no newest id, the waiting message is the newest, because its id is later than the run.

    Args:
        key: the conversation.
        behind: what the conversation works on: the condition fails if it is something else.
        newest_id: the id of the message. It leaves room for the reply to any message in the queue.
    """
    return Update(
        unfinished_run_key(key),
        "SET #newestId = :newest",
        f"{_WORKS_ON} AND {_IS_LATEST}",
        {":run": behind, ":coach": key.coach_id, ":newest": newest_id, ":place": _place(newest_id)},
        returns_existing=True,
    )


def queueing(key: ConversationKey, behind: str, run: QueuedRun, newest_id: str, *, most: int) -> Update:
    """The write that queues a run and reserves its place in the conversation, as `advancing` does.

    The condition also fails if there are `most` queued runs.
    """
    values = {
        ":queued": [msgspec.to_builtins(run)],
        ":empty": [],
        ":most": most,
        ":run": behind,
        ":coach": key.coach_id,
        ":newest": newest_id,
        ":place": _place(newest_id),
    }
    return Update(
        unfinished_run_key(key),
        "SET #newestId = :newest, #queue = list_append(if_not_exists(#queue, :empty), :queued)",
        f"{_WORKS_ON} AND {_IS_LATEST} AND (attribute_not_exists(#queue) OR size(#queue) < :most)",
        values,
        returns_existing=True,
    )


def beginning(key: ConversationKey, run_id: str) -> Update:
    """The write that makes the first in the queue the conversation's unfinished run, if it has none."""
    return Update(
        unfinished_run_key(key),
        "SET #runId = :run REMOVE #queue[0]",
        "#coachId = :coach AND attribute_not_exists(#runId) AND #queue[0].#runId = :run",
        {":run": run_id, ":coach": key.coach_id},
        returns_existing=True,
    )


def leaving(key: ConversationKey, run_id: str, *, position: int) -> Update:
    """The write that takes a run out of the queue, if it is still at this 1-based position."""
    place = f"#queue[{position - 1}]"
    return Update(
        unfinished_run_key(key),
        f"REMOVE {place}",
        f"#coachId = :coach AND {place}.#runId = :run",
        {":run": run_id, ":coach": key.coach_id},
    )


def _place(message_id: str) -> str:
    """What the newest id must be less than, for a reply to fit between it and this one (`place_behind`)."""
    time = time_in(message_id)
    return message_id if time is None else first_message_id(moment_of(time - 1))


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


def is_cleared(item: Item) -> bool:
    """Whether only what a deleted conversation has spent is left, which expires (`clearing`)."""
    return spent_in(item) and "ttl" in item and not item.keys() & {"runId", "coachId", "newestId"}


def deleting(key: ConversationKey, run_id: str | None, tombstone: str | None) -> Update:
    """The write that blocks all other runs, if this is still the unfinished run."""
    values: dict[str, object] = {":coach": key.coach_id, ":yes": True}
    condition = "attribute_not_exists(#runId) OR #coachId <> :coach"
    change = "SET #coachId = :coach, #isDeleted = :yes"
    if run_id is not None:
        values |= {":run": run_id, ":tombstone": tombstone}
        condition = _IS_THIS_RUN
        change += ", #tombstone = :tombstone"
    return Update(unfinished_run_key(key), f"{change} REMOVE #runId, #queue", condition, values)
