"""Messages that arrive during a reply: queued, answered in order, withdrawn, and never left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

import msgspec
import pytest

from coachstream.conversation.errors import ErrorCode, RunNotFound
from coachstream.conversation.events import (
    Attached,
    Chunk,
    Completed,
    Event,
    Failed,
    LogPoint,
    Queued,
    Reconnect,
    Started,
)
from coachstream.conversation.ids import run_id as new_run_id
from coachstream.conversation.model import Role, StopReason
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.conversation.quotas import QuotaLimits
from coachstream.conversation.run_log import LogEntry, Opened
from coachstream.conversation.run_queue import RunQueue, StopResult
from coachstream.conversation.runs.exchange import store_exchange
from coachstream.conversation.runs.settings import RunSettings, TurnPolicy
from coachstream.conversation.turn.request import ResumeRequest, TurnRequest
from coachstream.conversation.turn.turn import new_user_message, resume_run, run_opener, run_turn
from support.doubles import ScriptedModel
from support.patience import PATIENCE_S
from support.turn_events import events_of
from support.turns import KEY, NOW, Stage

QUICK = RunSettings(
    commit_every_s=0.0,
    renew_every_s=0.02,
    first_poll_s=0.005,
    longest_poll_s=0.01,
    lease_s=15,
    attended_within_s=0.1,
)


class Echo(ScriptedModel):
    """Replies to each message with its text in capitals, as soon as its gate opens, if it has one."""

    is_usable = True

    def __init__(self, *gated: str) -> None:
        super().__init__()
        self.gates = {text: asyncio.Event() for text in gated}
        self.speaking = asyncio.Event()

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        assert deadline > 0
        self.prompts.append(prompt)
        text = prompt.messages[-1].text
        yield TextDelta(text.upper())
        self.speaking.set()
        if text in self.gates:
            await self.gates[text].wait()
        yield TextDelta(".")
        yield ModelStop(StopReason.END_TURN)


class Sender:
    """A process with a client that sends one message and notes the events."""

    def __init__(self, stage: Stage, text: str, **more: object) -> None:
        self.stage = stage
        self.text = text
        self.events: list[Event] = []
        request: TurnRequest = msgspec.structs.replace(
            stage.request(text, within_s=60), **{"streamed": True, "client_message_id": f"c-{text}", **more}
        )
        self.task = asyncio.create_task(self._read(request))

    async def _read(self, request: TurnRequest) -> None:
        async for event in events_of(run_turn, request, self.stage.dependencies, self.stage.settings):
            self.events.append(event)

    async def ending(self) -> Event:
        await asyncio.wait_for(self.task, PATIENCE_S)
        return self.events[-1]

    async def position(self, number: int) -> str:
        """Wait for a position; return the run's id."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.positions or self.positions[-1] != number:  # noqa: ASYNC110 (another task's events)
                await asyncio.sleep(0.001)
        return next(event.point.run_id for event in self.events if isinstance(event, Queued))

    @property
    def positions(self) -> list[int]:
        return [event.position for event in self.events if isinstance(event, Queued)]

    async def die(self) -> None:
        """End the process before it can do anything more."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class EchoStage(Stage):
    """A stage whose model is an `Echo`."""

    model: Echo


def stage_with(model: Echo, **runs: object) -> EchoStage:
    stage = EchoStage(model)
    stage.settings = msgspec.structs.replace(stage.settings, runs=msgspec.structs.replace(QUICK, **runs))
    return stage


async def a_queue(stage: EchoStage, *texts: str) -> list[Sender]:
    """A reply that is being written, and messages that wait for it, in this order."""
    senders = [Sender(stage, texts[0])]
    await asyncio.wait_for(stage.model.speaking.wait(), PATIENCE_S)
    for number, text in enumerate(texts[1:], 1):
        senders.append(Sender(stage, text))
        await senders[-1].position(number)
    return senders


def reader_of(
    stage: Stage, run_id: str, *, after: int = 0, within_s: float = 60
) -> asyncio.Task[list[Event]]:
    """A reader that comes with the address of a queued run."""
    parts = stage.dependencies
    request = ResumeRequest(KEY, run_id, parts.clock.monotonic() + within_s, after=after)

    async def read() -> list[Event]:
        return [event async for event in events_of(resume_run, request, None, parts, stage.settings)]

    return asyncio.create_task(read())


async def dead_run(stage: Stage) -> None:
    """A run whose lease holder died."""
    message = new_user_message(stage.request("Before"), stage.dependencies)
    until = int(NOW.timestamp() * 1000) + 100
    opened = LogEntry(0, 1, until, "dead", Opened(message.id, at=until - 100), lease_ms=100)
    await stage.store.begin_run(KEY, message, "run-dead", opened)


async def test_messages_during_a_reply_are_answered_afterwards_in_their_order() -> None:
    """Each learns its position whenever it changes, then gets the events of any other turn."""
    stage = stage_with(Echo("one", "two"))
    one, two, three = await a_queue(stage, "one", "two", "three")
    assert stage.stored() == [("user", "one"), ("user", "two"), ("user", "three")]
    stage.model.gates["one"].set()
    await three.position(1)
    stage.model.gates["two"].set()
    for sender in (one, two, three):
        ending = await sender.ending()
        assert isinstance(ending, Completed)
        assert ending.user_message.content == sender.text
        assert ending.reply.content == f"{sender.text.upper()}."
    assert (one.positions, two.positions, three.positions) == ([], [1], [2, 1])
    kinds = [type(event) for event in three.events]
    assert kinds == [Started, Queued, Queued, Attached, Chunk, Chunk, Completed]
    assert stage.stored() == [
        (role, text)
        for sender in ("one", "two", "three")
        for role, text in (("user", sender), ("assistant", f"{sender.upper()}."))
    ]
    assert [prompt.messages[-1].text for prompt in stage.model.prompts] == ["one", "two", "three"]
    assert [each.text for each in stage.model.prompts[1].messages] == ["one", "ONE.", "two"]
    assert await stage.store.read_queue(KEY) == RunQueue()


async def test_of_fifty_different_messages_at_once_each_is_answered_in_its_turn() -> None:
    """In the order in which they are stored; no two replies are written at the same time."""
    stage = stage_with(Echo(), max_queued=50)
    senders = [Sender(stage, f"m{number}") for number in range(50)]
    for sender in senders:
        assert isinstance(await sender.ending(), Completed)
        assert sender.positions == sorted(sender.positions, reverse=True)
    stored = stage.stored()
    assert [role for role, _ in stored] == ["user", "assistant"] * 50
    assert [text for _, text in stored[1::2]] == [f"{text.upper()}." for _, text in stored[::2]]
    assert {text for _, text in stored[::2]} == {sender.text for sender in senders}
    assert len(stage.model.prompts) == 50


async def test_a_full_queue_refuses_the_next_message() -> None:
    """It is stored like one that is refused by policy, and can be sent again."""
    stage = stage_with(Echo("one"))
    senders = await a_queue(stage, "one", "two", "three", "four")
    refused = await Sender(stage, "five").ending()
    assert isinstance(refused, Failed)
    assert (refused.code, refused.run_id) == (
        ErrorCode.TURN_IN_PROGRESS,
        (await stage.store.read_queue(KEY)).run_id,
    )
    assert refused.user_message is not None
    stage.model.gates["one"].set()
    for sender in senders:
        assert isinstance(await sender.ending(), Completed)
    assert isinstance(await Sender(stage, "five").ending(), Completed)
    assert [text for role, text in stage.stored() if role == "user"] == [
        "one",
        "two",
        "three",
        "four",
        "five",
    ]


@pytest.mark.parametrize("name", ["c-two", None])
async def test_a_message_that_is_sent_again_joins_its_place_in_the_queue(name: str | None) -> None:
    """By its idempotency key or by its text: it is stored once and answered once, and both get the reply."""
    stage = stage_with(Echo("one"))
    one = Sender(stage, "one")
    await stage.model.speaking.wait()
    two = Sender(stage, "two", client_message_id=name)
    run_id = await two.position(1)
    again = Sender(stage, "two", client_message_id=name)
    assert await again.position(1) == run_id
    stage.model.gates["one"].set()
    endings = [await sender.ending() for sender in (one, two, again)]
    assert isinstance(endings[1], Completed)
    assert endings[1] == endings[2]
    assert len(stage.stored()) == 4


async def test_a_request_decides_what_happens_to_its_message() -> None:
    """Whatever the setting."""
    stage = stage_with(Echo("one"), policy=TurnPolicy.REJECT)
    one = Sender(stage, "one")
    await stage.model.speaking.wait()
    refused = await Sender(stage, "two").ending()
    assert isinstance(refused, Failed)
    assert refused.code is ErrorCode.TURN_IN_PROGRESS
    queued = Sender(stage, "three", policy=TurnPolicy.ENQUEUE)
    await queued.position(1)
    stage.model.gates["one"].set()
    assert isinstance(await queued.ending(), Completed)
    assert isinstance(await one.ending(), Completed)


async def test_an_interrupting_message_stops_the_reply_and_waits_behind_the_queue() -> None:
    """What was queued before keeps its place; nothing else is stopped."""
    stage = stage_with(Echo("one"))
    one, two = await a_queue(stage, "one", "two")
    three = Sender(stage, "three", policy=TurnPolicy.INTERRUPT)
    stopped, second, third = [await sender.ending() for sender in (one, two, three)]
    assert isinstance(stopped, Completed)
    assert stopped.stop_reason is StopReason.STOPPED
    for ending in (second, third):
        assert isinstance(ending, Completed)
        assert ending.stop_reason is StopReason.END_TURN
    texts = [text for _, text in stage.stored()]
    assert texts == ["one", "ONE", "two", "TWO.", "three", "THREE."]


async def test_the_queue_goes_on_when_the_reply_is_stopped() -> None:
    """By its own reader or another device."""
    stage = stage_with(Echo("one"))
    one, two = await a_queue(stage, "one", "two")
    running = (await stage.store.read_queue(KEY)).run_id
    assert running is not None
    opener = run_opener(stage.dependencies, stage.settings)
    assert await opener.stop_or_withdraw(KEY, running) is StopResult.STOPPING
    assert isinstance(await one.ending(), Completed)
    assert isinstance(await two.ending(), Completed)


async def test_a_withdrawn_message_is_never_answered() -> None:
    """Its readers get an end of their own, the next moves up, and a retry does not bring it back."""
    stage = stage_with(Echo("one"))
    one, two, three = await a_queue(stage, "one", "two", "three")
    run_id = await two.position(1)
    opener = run_opener(stage.dependencies, stage.settings)
    assert await opener.stop_or_withdraw(KEY, run_id) is StopResult.WITHDRAWN
    for events in (two.events, await reader_of(stage, run_id)):
        await two.ending()
        failed = events[-1]
        assert isinstance(failed, Failed)
        assert (failed.code, failed.retryable) == (ErrorCode.MESSAGE_WITHDRAWN, False)
    again = await Sender(stage, "two").ending()
    assert isinstance(again, Failed)
    assert again.code is ErrorCode.MESSAGE_WITHDRAWN
    assert await opener.stop_or_withdraw(KEY, run_id) is StopResult.FINISHED
    await three.position(1)
    stage.model.gates["one"].set()
    assert isinstance(await three.ending(), Completed)
    assert isinstance(await one.ending(), Completed)
    assert [text for _, text in stage.stored()] == ["one", "ONE.", "three", "THREE."]
    with pytest.raises(RunNotFound):
        await opener.stop_or_withdraw(KEY, "run-unknown")


async def test_the_queue_goes_on_when_a_lease_holder_died() -> None:
    """A process that waits in the queue observes the lease, like any other observer of a run."""
    stage = stage_with(Echo(), lease_s=0.1)
    await dead_run(stage)
    senders = [Sender(stage, "one"), Sender(stage, "two")]
    for sender in senders:
        assert isinstance(await sender.ending(), Completed)
    assert await stage.store.read_queue(KEY) == RunQueue()


async def test_the_message_of_a_process_that_died_is_answered_by_the_next_in_the_queue() -> None:
    """In its turn, and once; a reader that comes later gets that reply."""
    stage = stage_with(Echo("one"))
    one, two, three = await a_queue(stage, "one", "two", "three")
    run_id = await two.position(1)
    await two.die()
    stage.model.gates["one"].set()
    assert isinstance(await three.ending(), Completed)
    assert isinstance(await one.ending(), Completed)
    assert [text for _, text in stage.stored()] == ["one", "ONE.", "two", "TWO.", "three", "THREE."]
    again = await Sender(stage, "two").ending()
    assert isinstance(again, Completed)
    assert again.reply.metadata.run_id == run_id
    assert len(stage.model.prompts) == 3


async def test_an_unattended_queue_waits_for_the_next_message_or_reader() -> None:
    """All processes died: the next message, or the next reader, brings the earlier ones their replies."""
    stage = stage_with(Echo("one"))
    senders = await a_queue(stage, "one", "two", "three")
    run_ids = [await sender.position(number) for number, sender in enumerate(senders[1:], 1)]
    for sender in reversed(senders):
        await sender.die()
    assert (await stage.store.read_queue(KEY)).run_id is None
    reported = len(stage.reports)
    events = await asyncio.wait_for(reader_of(stage, run_ids[1]), PATIENCE_S)
    assert len(stage.reports) == reported + 1, "the report of a request is that of its own turn"
    assert isinstance(events[-1], Completed)
    assert events[-1].reply.content == "THREE."
    assert [text for role, text in stage.stored() if role == "assistant"] == ["TWO.", "THREE."]
    assert [text for role, text in stage.stored() if role == "user"] == ["one", "two", "three"]


async def test_a_message_after_an_unattended_queue_comes_last() -> None:
    """Also one that would be refused during a reply: no reply is being written."""
    stage = stage_with(Echo("one"))
    senders = await a_queue(stage, "one", "two")
    for sender in reversed(senders):
        await sender.die()
    last = Sender(stage, "last", policy=TurnPolicy.REJECT)
    assert isinstance(await last.ending(), Completed)
    assert [text for role, text in stage.stored() if role == "assistant"][-2:] == ["TWO.", "LAST."]


async def test_a_reader_that_must_reconnect_keeps_its_place() -> None:
    """It waits for half of its function's time at most, so that a reply that begins then has the rest."""
    stage = stage_with(Echo("one"))
    one = Sender(stage, "one")
    await stage.model.speaking.wait()
    two = Sender(stage, "two", deadline=stage.request(within_s=1.4).deadline)
    ending = await two.ending()
    assert isinstance(ending, Reconnect)
    assert ending.point == LogPoint((await stage.store.read_queue(KEY)).queued[0].run_id, 0)
    resumed = reader_of(stage, ending.point.run_id)
    stage.model.gates["one"].set()
    events = await asyncio.wait_for(resumed, PATIENCE_S)
    assert isinstance(events[1], Queued)
    assert isinstance(events[-1], Completed)
    assert isinstance(await one.ending(), Completed)


async def test_a_queued_run_without_a_reader_is_an_address() -> None:
    """Opening it does not wait; its first reader does, and has it begun."""
    stage = stage_with(Echo("one"))
    one = Sender(stage, "one")
    await stage.model.speaking.wait()
    parts = stage.dependencies
    run_id = await run_opener(parts, stage.settings).open_for_reader(
        KEY,
        partial(new_user_message, stage.request("two"), parts),
        new_run_id(NOW, parts.random_below),
        deadline=parts.clock.monotonic() + PATIENCE_S,
        time_zone="Asia/Tokyo",
    )
    assert (await stage.store.read_queue(KEY)).position_of(run_id) == 1
    reader = reader_of(stage, run_id, after=-1)
    stage.model.gates["one"].set()
    events = await asyncio.wait_for(reader, PATIENCE_S)
    assert isinstance(events[-1], Completed)
    assert events[-1].reply.content == "TWO."
    first = (await stage.store.read_log(KEY, run_id))[0].content
    assert isinstance(first, Opened)
    assert first.time_zone == "Asia/Tokyo"
    assert isinstance(await one.ending(), Completed)


async def test_a_message_whose_quota_is_used_up_leaves_the_queue() -> None:
    """The stream reports it; the message stays stored and blocks no other."""
    stage = stage_with(Echo("one"), quotas=QuotaLimits(turns_per_minute=1))
    one, two, three = await a_queue(stage, "one", "two", "three")
    stage.model.gates["one"].set()
    assert isinstance(await one.ending(), Completed)
    for sender in (two, three):
        failed = await sender.ending()
        assert isinstance(failed, Failed)
        assert failed.code is ErrorCode.QUOTA_EXCEEDED
        assert failed.retry_after_s is not None
    assert await stage.store.read_queue(KEY) == RunQueue()
    assert [text for _, text in stage.stored()] == ["one", "ONE.", "two", "three"]
    begun = await stage.store.begin_run(
        KEY,
        new_user_message(stage.request("two", client_message_id="c-two"), stage.dependencies),
        "run-x",
        LogEntry(0, 1, 0, "w", Opened("")),
    )
    assert not getattr(begun, "is_first_attempt", True)


async def test_a_refusal_is_no_error_if_another_process_has_begun_the_run_meanwhile() -> None:
    """There, the quota had room. Both streams have its reply."""
    stage, other = stage_with(Echo("one"), quotas=QuotaLimits(turns_per_minute=1)), stage_with(Echo())
    other.store = store = stage.store
    store.gates["leave_queue"] = may_leave = asyncio.Event()
    one, two = await a_queue(stage, "one", "two")
    stage.model.gates["one"].set()
    await asyncio.wait_for(store.reached["leave_queue"].wait(), PATIENCE_S)
    events = await asyncio.wait_for(reader_of(other, await two.position(1)), PATIENCE_S)
    may_leave.set()
    endings = [events[-1], await two.ending()]
    assert [end.reply.content for end in endings if isinstance(end, Completed)] == ["TWO."] * 2
    assert isinstance(await one.ending(), Completed)


async def test_deleting_a_conversation_ends_the_streams_of_its_queue() -> None:
    """At once, and nothing more is stored."""
    stage = stage_with(Echo("one"))
    senders = await a_queue(stage, "one", "two", "three")
    await stage.store.delete_conversation(KEY)
    for sender in senders:
        failed = await sender.ending()
        assert isinstance(failed, Failed)
        assert failed.code is ErrorCode.CONVERSATION_NOT_FOUND
    assert KEY not in stage.store.messages


async def test_a_sender_that_leaves_the_queue_is_answered_nevertheless() -> None:
    """As after the beginning of its reply: its process goes on."""
    stage = stage_with(Echo("one"))
    one = Sender(stage, "one")
    await stage.model.speaking.wait()
    request = msgspec.structs.replace(stage.request("two", within_s=60), streamed=True)

    async def ignore(_event: Event) -> None:
        pass

    task = asyncio.create_task(
        run_turn(request, stage.dependencies, stage.settings, send=ignore, has_left=lambda: True)
    )
    async with asyncio.timeout(PATIENCE_S):
        while not (await stage.store.read_queue(KEY)).queued:  # noqa: ASYNC110 (another task's store call)
            await asyncio.sleep(0.001)
    stage.model.gates["one"].set()
    await asyncio.wait_for(task, PATIENCE_S)
    assert isinstance(await one.ending(), Completed)
    assert stage.stored()[-1] == (Role.ASSISTANT.value, "TWO.")


async def test_a_stored_exchange_does_not_wait_for_a_queue() -> None:
    """It ends what is unfinished or queued, whose messages stay."""
    stage = stage_with(Echo("one"))
    senders = await a_queue(stage, "one", "two")
    for sender in reversed(senders):
        await sender.die()
    question = new_user_message(stage.request("seeded"), stage.dependencies)
    reply = msgspec.structs.replace(question, role=Role.ASSISTANT, content="Seeded.")
    await asyncio.wait_for(store_exchange(stage.store, KEY, question, reply), PATIENCE_S)
    assert await stage.store.read_queue(KEY) == RunQueue()
    assert [text for _, text in stage.stored()][-3:] == ["two", "seeded", "Seeded."]
