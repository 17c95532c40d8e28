"""Work after a turn, by coachstream's own function `process_post_turn`, or in this process.

An event has ids and a count, and no text of a user: Lambda keeps it while it retries, and a queue those that
failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec

from coachstream.conversation.errors import CoachStreamError, ProcessingError, describe_exception, log_failure
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.ports import SummaryReason, SummaryRequest, TitleRequest
from coachstream.hand_off.lambda_functions import OpenClient, invoke

logger = logging.getLogger("coachstream.post_turn")

SHUTDOWN_WITHIN_S = 1.0
"""Less than the local server waits for an execution environment, which is 2 s."""

PostTurnRequest = SummaryRequest | TitleRequest

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class _Event(msgspec.Struct, frozen=True, rename="camel", tag_field="work", forbid_unknown_fields=True):
    user_id: _Id
    coach_id: _Id
    conversation_id: _Id

    @property
    def key(self) -> ConversationKey:
        """The conversation."""
        return ConversationKey(self.user_id, self.coach_id, self.conversation_id)


class _SummaryEvent(_Event, frozen=True, tag="summary"):
    trigger_reason: SummaryReason
    message_count: Annotated[int, msgspec.Meta(ge=1)]


class _TitleEvent(_Event, frozen=True, tag="title"):
    pass


class UnknownEvent(ProcessingError):
    """An event that requests no work after a turn."""


def event_of(request: PostTurnRequest) -> msgspec.Struct:
    """The event that requests this work."""
    key = request.key
    ids = key.user_id, key.coach_id, key.conversation_id
    if isinstance(request, TitleRequest):
        return _TitleEvent(*ids)
    return _SummaryEvent(*ids, request.reason, request.message_count)


def request_in(event: object) -> PostTurnRequest:
    """The work that an event requests.

    Raises:
        UnknownEvent: it is none of ours, or has a field that is unknown or out of bounds.
    """
    try:
        found = msgspec.convert(event, _SummaryEvent | _TitleEvent)
    except msgspec.ValidationError:
        # Its text would quote the event.
        raise UnknownEvent("the event requests no work that this function knows") from None
    if isinstance(found, _TitleEvent):
        return TitleRequest(found.key)
    return SummaryRequest(found.key, found.trigger_reason, found.message_count)


class LambdaPostTurn:
    """`SummaryBuilder` and `TitleBuilder` for `process_post_turn`; `function` is its name or ARN."""

    def __init__(self, client: OpenClient, function: str) -> None:
        self._client = client
        self._function = function

    async def build(self, request: PostTurnRequest) -> None:
        """Invoke the function (see `SummaryBuilder`)."""
        await invoke(self._client, self._function, event_of(request))


class LocalPostTurn:
    """`SummaryBuilder` and `TitleBuilder` in this process, next to whatever follows a turn.

    Args:
        process: does the work.
        shutdown_within_s: how long work may take to finish after the process receives SIGTERM.
    """

    def __init__(
        self,
        process: Callable[[PostTurnRequest], Awaitable[object]],
        *,
        shutdown_within_s: float = SHUTDOWN_WITHIN_S,
    ) -> None:
        self._process = process
        self._shutdown_within_s = shutdown_within_s
        self._tasks: set[asyncio.Task[None]] = set()

    async def build(self, request: PostTurnRequest) -> None:
        """Start the work (see `SummaryBuilder`); `finish` waits for it."""
        task = asyncio.create_task(self._work(request), name="work after a turn")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait for the work that was started; if this is cancelled, for no longer than a moment."""
        if not self._tasks:
            return
        try:
            await asyncio.wait(self._tasks)
        except asyncio.CancelledError:
            await self._end()
            raise

    async def aclose(self) -> None:
        """Let the work finish that takes no longer than a moment, and cancel the rest."""
        await self._end()

    async def _end(self) -> None:
        tasks = set(self._tasks)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._shutdown_within_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _work(self, request: PostTurnRequest) -> None:
        try:
            await self._process(request)
        except CoachStreamError as error:
            log_failure(logger, "The work after a turn failed", error, level=logging.WARNING)
        except Exception as error:  # noqa: BLE001 (a task has no caller)
            logger.warning("The work after a turn failed: %s", describe_exception(error))
