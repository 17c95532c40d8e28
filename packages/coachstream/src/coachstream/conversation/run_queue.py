"""The queue of a conversation: the runs of messages that arrived while another reply was being written.

The messages are stored, and each has the id of its run, so it can be read, joined and withdrawn. The run and
its log begin when it is the first and no run is unfinished: in the order in which they were queued.

Every message in the queue reserves its place in the conversation: `at` is the time of its run (`Opened.at`),
the reply has the next millisecond in its id, and whatever is stored later has a later one (`place_behind`).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from coachstream.conversation.ids import first_message_id, id_after, moment_of, time_in


class StopResult(StrEnum):
    """What a request to stop a run has done."""

    STOPPING = "stopping"
    FINISHED = "finished"
    WITHDRAWN = "withdrawn"


class QueuedRun(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A run that has not begun.

    Attributes:
        run_id: its id.
        user_message_id: the stored message to reply to.
        at: `Opened.at` of the run, when it begins.
        is_first_attempt: `Opened.is_first_attempt`: whether the message was stored together with this entry.
        time_zone: `Opened.time_zone`.
    """

    run_id: str
    user_message_id: str
    at: int
    is_first_attempt: bool = True
    time_zone: str | None = None


class RunQueue(msgspec.Struct, frozen=True):
    """What a conversation is working on.

    Attributes:
        run_id: the unfinished run, alive or not; None if there is none.
        queued: the runs that begin after it, in this order.
    """

    run_id: str | None = None
    queued: tuple[QueuedRun, ...] = ()

    @property
    def first_run_id(self) -> str | None:
        """The unfinished run, or else the first in the queue: what any other message must wait for."""
        if self.run_id is not None:
            return self.run_id
        return self.queued[0].run_id if self.queued else None

    def position_of(self, run_id: str) -> int | None:
        """The 1-based position of a run in the queue; None if it is not in the queue."""
        return next((number for number, run in enumerate(self.queued, 1) if run.run_id == run_id), None)

    def run_of(self, user_message_id: str) -> QueuedRun | None:
        """The queued run of a message, if it has one."""
        return next((run for run in self.queued if run.user_message_id == user_message_id), None)


def place_behind(message_id: str, newest_id: str | None) -> str:
    """The id of a message that waits: later than the newest id, and than the id of a reply to that message.

    Args:
        message_id: the id with the clock's time.
        newest_id: the greatest id of the conversation, or an upper bound of its ids; None if it has none.
    """
    newest = None if newest_id is None else time_in(newest_id)
    if newest is None or message_id >= first_message_id(moment_of(newest + 2)):
        return message_id
    return id_after(message_id, max(message_id, first_message_id(moment_of(newest + 1))))
