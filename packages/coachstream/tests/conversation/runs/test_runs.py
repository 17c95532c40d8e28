"""Runs over stateful ports: joined, resumed, stopped, taken over, closed and continued."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import ErrorCode, ModelStreamBroken, ModelUnavailable
from coachstream.conversation.events import (
    Chunk,
    Completed,
    Event,
    Failed,
    LogPoint,
    Reconnect,
    Reset,
)
from coachstream.conversation.model import Conversation, ConversationKey, StopReason
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.conversation.run_log import Claimed, LogEntry, Opened, RunState, Said
from coachstream.conversation.runs.settings import RunSettings, TurnPolicy
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.request import ResumeRequest, TurnRequest
from coachstream.conversation.turn.turn import resume_run, run_closer, run_opener, run_turn, run_watcher
from support.doubles import ScriptedModel
from support.patience import PATIENCE_S
from support.turn_events import events_of
from support.turns import KEY, NOW, Later, Stage, TurnStoreDouble

QUESTION = ("user", "How am I doing?")
DONE = ModelStop(StopReason.END_TURN)
SHORT_LEASE_S = 0.1
QUICK = RunSettings(
    commit_every_s=0.0, renew_every_s=0.02, first_poll_s=0.005, longest_poll_s=0.01, lease_s=15
)


class Continuing(ScriptedModel):
    """Continues a partial reply: yields the rest of its text, one word at a time."""

    can_continue = True
    is_usable = True

    def __init__(self, text: str, *, breaks_at: int | None = None, waits_at: int | None = None) -> None:
        super().__init__()
        self.text = text
        self.breaks_at = breaks_at
        self.waits_at = waits_at

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        assert deadline > 0
        self.prompts.append(prompt)
        assert self.text.startswith(prompt.said)
        words = self.text[len(prompt.said) :].split(" ")
        for number, word in enumerate(words):
            if len(self.prompts) == 1 and number == self.breaks_at:
                raise ModelStreamBroken
            if len(self.prompts) == 1 and number == self.waits_at:
                await asyncio.Event().wait()
            yield TextDelta(word if number == len(words) - 1 else f"{word} ")
            await asyncio.sleep(0)
        yield DONE


def stage_with(model: ScriptedModel | None = None, **runs: object) -> Stage:
    stage = Stage(model)
    stage.settings = msgspec.structs.replace(stage.settings, runs=msgspec.structs.replace(QUICK, **runs))
    return stage


def streamed(stage: Stage, text: str = QUESTION[1], **more: object) -> TurnRequest:
    return msgspec.structs.replace(stage.request(text), streamed=True, **more)


def shown(events: list[Event], before: str = "") -> str:
    """The text a reader ends up with: overlap is dropped by offset, resets are applied."""
    units = before.encode("utf-16-le")
    for event in events:
        match event:
            case Chunk(content, offset):
                assert 2 * offset <= len(units), "a gap"
                units += content.encode("utf-16-le")[len(units) - 2 * offset :]
            case Reset(offset):
                units = units[: 2 * offset]
            case _:
                pass
    return units.decode("utf-16-le")


def points(events: list[Event]) -> list[LogPoint]:
    return [event.point for event in events if isinstance(event, Chunk) and event.point is not None]


async def resumed(stage: Stage, point: LogPoint, *, within_s: float = 30.0) -> list[Event]:
    """All events that a reconnecting reader gets."""
    parts = stage.dependencies
    request = ResumeRequest(KEY, point.run_id, parts.clock.monotonic() + within_s, after=point.number)
    watcher = run_watcher(request, parts, stage.settings)
    assert await watcher.open() is not None
    if watcher.is_at_the_end:
        return []
    return [event async for event in events_of(resume_run, request, watcher, parts, stage.settings)]


async def abandoned_run(stage: Stage, *said: str) -> str:
    """A run whose lease holder died after committing these texts."""
    from coachstream.conversation.turn.turn import new_user_message

    message = new_user_message(stage.request(), stage.dependencies)
    opened = LogEntry(0, 1, _lease_end(), "dead", Opened(message.id, at=_lease_end() - 15_000))
    await stage.store.begin_run(KEY, message, "run-dead", opened)
    offset = 0
    for number, text in enumerate(said, start=1):
        entry = LogEntry(number, 1, _lease_end(), "dead", Said(text, offset))
        assert await stage.store.append(KEY, "run-dead", entry) is None
        offset += len(text)
    return "run-dead"


def _lease_end() -> int:
    return int(NOW.timestamp() * 1000) + 15_000


# Exactly once


@pytest.mark.parametrize("client_message_id", ["c-1", None])
async def test_fifty_equal_messages_at_once_are_one_run_and_fifty_equal_streams(
    client_message_id: str | None,
) -> None:
    """Deduplicated by idempotency key or by text: one question, one model call, one reply for all."""
    stage = stage_with(ScriptedModel(*[f"word{number} " for number in range(50)], DONE))
    request = streamed(stage, client_message_id=client_message_id)
    streams = await asyncio.gather(*(stage.run(request) for _ in range(50)))
    assert stage.model.calls == 1
    endings = [events[-1] for events in streams]
    assert all(ending == endings[0] for ending in endings)
    assert isinstance(endings[0], Completed)
    assert {shown(events) for events in streams} == {endings[0].reply.content}
    assert len(stage.stored()) == 2


async def test_of_fifty_different_messages_at_once_one_is_answered() -> None:
    """The others fail with the id of the run in progress, and are stored once, after its reply."""
    gate = asyncio.Event()
    stage = stage_with(ScriptedModel("One", gate, DONE), policy=TurnPolicy.REJECT)
    tasks = [asyncio.create_task(stage.run(streamed(stage, f"Message {n}"))) for n in range(50)]
    endings = asyncio.as_completed(tasks)
    for _ in range(49):
        failed = (await next(endings))[-1]
        assert isinstance(failed, Failed)
        assert failed.code is ErrorCode.TURN_IN_PROGRESS
        assert failed.run_id == (await stage.store.read_queue(KEY)).run_id
    gate.set()
    assert isinstance((await next(endings))[-1], Completed)
    assert stage.model.calls == 1
    assert [role for role, _ in stage.stored()] == ["user", "assistant", *["user"] * 49]
    assert {text for _, text in stage.stored()} == {"One", *(f"Message {n}" for n in range(50))}


class Paced(ScriptedModel):
    """Says ten words a second."""

    async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        async for event in super().stream(prompt, deadline=deadline):
            await asyncio.sleep(0.1)
            yield event


@pytest.mark.parametrize(("words", "most"), [(10, 5), (100, 15), (600, 65)])
async def test_the_log_of_a_long_reply_is_written_less_often(words: int, most: int) -> None:
    """Quickly at first, when a reader that resumes has little; once a second later."""
    stage = Stage(Paced(*["word "] * words, DONE))
    events = await stage.run(msgspec.structs.replace(stage.request(within_s=100), streamed=True))
    assert isinstance(events[-1], Completed)
    assert events[-1].point is not None
    segments = events[-1].point.number - 1
    assert segments <= most
    assert segments >= words / 10


@given(age_s=st.floats(0, 1000), heartbeat_s=st.floats(0.4, 2), lease_s=st.floats(1.01, 3600))
def test_no_interval_is_longer_than_a_heartbeat(age_s: float, heartbeat_s: float, lease_s: float) -> None:
    """A stop would be noticed late, and a lease could expire."""
    settings = RunSettings(renew_every_s=heartbeat_s, lease_s=lease_s)
    assert 0 < settings.commit_interval_s(age_s) <= settings.renewed_every_s <= heartbeat_s


async def test_text_of_another_run_is_reset_once_even_if_the_reader_continues_the_run() -> None:
    """A reader of an earlier run sends the message of a released run and becomes its lease holder."""
    stage = stage_with(Continuing("So far and so good", waits_at=2))
    request = msgspec.structs.replace(stage.request(within_s=1.2), streamed=True, client_message_id="c-1")
    assert isinstance((await stage.run(request))[-1], Reconnect)
    elsewhere = LogPoint("run-before", 3)
    events = await stage.run(streamed(stage, client_message_id="c-1", after=elsewhere))
    assert isinstance(events[-1], Completed)
    assert [event.offset for event in events if isinstance(event, Reset)] == [0]
    assert shown(events, "What the run before said") == "So far and so good"


async def test_a_message_may_interrupt_the_one_before_by_policy() -> None:
    """The partial text is kept as a stopped reply, and the new message is answered."""
    stage = stage_with(ScriptedModel("So far", asyncio.Event()), policy=TurnPolicy.INTERRUPT)
    parts = stage.dependencies  # its clock stands still; the later message still counts as the newer

    async def run(parts: TurnDependencies, text: str) -> list[Event]:
        return [event async for event in events_of(run_turn, streamed(stage, text), parts, stage.settings)]

    first = asyncio.create_task(run(parts, QUESTION[1]))
    await stage.store.reached["append"].wait()
    second = await run(msgspec.structs.replace(parts, model=ScriptedModel()), "No, this")
    assert isinstance(second[-1], Completed)
    stopped = (await first)[-1]
    assert isinstance(stopped, Completed)
    assert stopped.stop_reason is StopReason.STOPPED
    assert stage.stored() == [
        QUESTION,
        ("assistant", "So far"),
        ("user", "No, this"),
        ("assistant", "Hello, you!"),
    ]


# Resume


async def test_whoever_comes_again_anywhere_gets_exactly_the_rest() -> None:
    """After every committed point of a finished run, the rest follows; after the last, nothing is left."""
    text = "".join(f"wörd{number} 💪 " for number in range(60))
    stage = stage_with(Continuing(text), segment_bytes=64)
    events = await stage.run(streamed(stage))
    assert shown(events) == text
    completed = events[-1]
    assert isinstance(completed, Completed)
    assert completed.point is not None
    assert len(points(events)) > 5
    run_id = completed.point.run_id
    for number in range(-1, completed.point.number):
        again = await resumed(stage, LogPoint(run_id, number))
        first = next((event for event in again if isinstance(event, Chunk)), None)
        before = text.encode("utf-16-le")[: 2 * first.offset].decode("utf-16-le") if first else text
        assert shown(again, before) == text
        assert again[-1] == completed
    assert await resumed(stage, completed.point) == []


async def test_a_chunk_carries_only_points_that_lie_before_its_end() -> None:
    """A client that reconnects after a point finds no gap after the text it has."""
    text = "".join(f"word{number} " for number in range(80))
    stage = stage_with(Continuing(text), segment_bytes=32)
    events = await stage.run(streamed(stage))
    have = 0
    for event in events:
        if isinstance(event, Chunk):
            have = event.offset + len(event.content)
            if event.point is not None:
                [next_chunk, *_] = [
                    later for later in await resumed(stage, event.point) if isinstance(later, Chunk)
                ] or [Chunk("", have)]
                assert next_chunk.offset <= have


async def test_what_arrives_while_an_entry_is_written_is_in_the_next_one() -> None:
    """Up to the size limit of an entry, so a fast reply is written in few of them."""
    written = asyncio.Event()

    class SlowStore(TurnStoreDouble):
        async def append(self, key: ConversationKey, run_id: str, entry: LogEntry) -> LogEntry | None:
            if entry.number > 0:
                await asyncio.wait_for(written.wait(), PATIENCE_S)
            return await super().append(key, run_id, entry)

    class Silence(asyncio.Event):
        async def wait(self) -> Literal[True]:
            written.set()
            return await super().wait()

    words = ["word "] * 100
    stage = stage_with(ScriptedModel(*words, Silence()), segment_bytes=20, entry_bytes=300)
    stage.store = SlowStore()
    running = asyncio.create_task(stage.run(streamed(stage)))
    run_id = await _committed(stage, 1, text="".join(words))
    entries = await stage.store.read_log(KEY, run_id)
    sizes = [len(entry.content.text) for entry in entries if isinstance(entry.content, Said)]
    assert max(sizes) <= 300
    assert len([size for size in sizes if size]) <= 4
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_unknown_point_of_an_unfinished_run_resumes_from_the_beginning() -> None:
    """A client with a wrong cursor loses nothing."""
    stage = stage_with(ScriptedModel("So far, ", "so good", asyncio.Event()))
    running = asyncio.create_task(stage.run(streamed(stage)))
    run_id = await _committed(stage, 1, text="So far, so good")
    again = asyncio.create_task(resumed(stage, LogPoint(run_id, 999)))
    assert await run_opener(stage.dependencies, stage.settings).stop(KEY, run_id)
    streams = await asyncio.gather(running, again)
    for events in streams:
        assert shown(events) == "So far, so good"
        assert isinstance(events[-1], Completed)


async def test_an_unknown_point_of_a_finished_run_is_its_end() -> None:
    """A client that keeps reconnecting with a wrong cursor is not sent the reply each time."""
    stage = stage_with()
    completed = (await stage.run(streamed(stage)))[-1]
    assert isinstance(completed, Completed)
    assert completed.point is not None
    request = ResumeRequest(
        KEY, completed.point.run_id, asyncio.get_running_loop().time() + PATIENCE_S, after=999
    )
    watcher = run_watcher(request, stage.dependencies, stage.settings)
    assert await watcher.open() is not None
    assert watcher.is_at_the_end


# Stop


async def test_a_stopped_run_ends_at_once_with_what_was_said() -> None:
    """Even while the model is silent: the text so far is the reply, and every reader gets `complete`."""
    stage = stage_with(ScriptedModel("So far, ", "so good", asyncio.Event()))
    running = asyncio.create_task(stage.run(streamed(stage)))
    joined = asyncio.create_task(stage.run(streamed(stage)))
    run_id = await _committed(stage, 1, text="So far, so good")
    assert await run_opener(stage.dependencies, stage.settings).stop(KEY, run_id)
    streams = await asyncio.wait_for(asyncio.gather(running, joined), PATIENCE_S)
    for events in streams:
        completed = events[-1]
        assert isinstance(completed, Completed)
        assert completed.stop_reason is StopReason.STOPPED
        assert shown(events) == completed.reply.content == "So far, so good"
    assert not await run_opener(stage.dependencies, stage.settings).stop(KEY, run_id)
    assert stage.stored() == [QUESTION, ("assistant", "So far, so good")]
    stage.model = ScriptedModel()
    assert isinstance((await stage.run(streamed(stage, "Next")))[-1], Completed)


async def test_a_run_that_is_stopped_before_the_first_word_has_an_empty_reply() -> None:
    """The message counts as answered; the model is not asked again."""
    stage = stage_with(ScriptedModel(asyncio.Event()))
    running = asyncio.create_task(stage.run(streamed(stage)))
    run_id = await _committed(stage, 1)
    assert await run_opener(stage.dependencies, stage.settings).stop(KEY, run_id)
    completed = (await running)[-1]
    assert isinstance(completed, Completed)
    assert (completed.reply.content, completed.stop_reason) == ("", StopReason.STOPPED)


# Crash


async def test_a_reader_of_a_dead_run_gets_its_text_and_a_retryable_error() -> None:
    """The text is also stored as an interrupted reply."""
    stage = stage_with(lease_s=SHORT_LEASE_S)
    run_id = await abandoned_run(stage, "So far, ", "so good")
    events = await resumed(stage, LogPoint(run_id, -1))
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (failed.code, failed.retryable) == (ErrorCode.TURN_INTERRUPTED, True)
    assert failed.partial_reply is not None
    assert shown(events) == failed.partial_reply.content == "So far, so good"
    assert stage.stored() == [QUESTION, ("assistant-", "So far, so good")]
    assert stage.store.claims == set()


async def test_a_message_that_finds_a_dead_run_is_answered_once_its_lease_is_over() -> None:
    """It waits for the lease to expire; the conversation and the prompt then have the partial reply."""
    stage = stage_with(lease_s=SHORT_LEASE_S)
    await abandoned_run(stage, "So far")
    events = await stage.run(streamed(stage, "And now?"))
    assert isinstance(events[-1], Completed)
    [prompt] = stage.model.prompts
    assert [message.text.startswith("So far") for message in prompt.messages] == [False, True, False]
    assert stage.stored() == [
        QUESTION,
        ("assistant-", "So far"),
        ("user", "And now?"),
        ("assistant", "Hello, you!"),
    ]


async def test_a_run_that_was_just_renewed_refuses_another_message_at_once() -> None:
    """Within the clock skew its lease holder is alive, so another message is refused without waiting."""
    stage = stage_with(policy=TurnPolicy.REJECT)
    await abandoned_run(stage, "So far")
    failed = (await stage.run(streamed(stage, "And now?", deadline=stage.request(within_s=2).deadline)))[-1]
    assert isinstance(failed, Failed)
    assert (failed.code, failed.run_id) == (ErrorCode.TURN_IN_PROGRESS, "run-dead")


async def test_a_message_that_has_no_time_to_see_whether_a_run_is_dead_is_refused() -> None:
    """It is refused within its deadline, as retryable; it is stored."""
    stage = stage_with(policy=TurnPolicy.REJECT)
    await abandoned_run(stage, "So far")
    parts = msgspec.structs.replace(stage.dependencies, clock=Later(60))
    request = streamed(stage, "And now?", deadline=stage.request(within_s=1.2).deadline)
    failed = [event async for event in events_of(run_turn, request, parts, stage.settings)][-1]
    assert isinstance(failed, Failed)
    assert (failed.code, failed.retryable) == (ErrorCode.TURN_IN_PROGRESS, True)
    assert stage.stored() == [QUESTION, ("user", "And now?")]


async def test_a_message_that_waited_gets_its_reply_when_it_is_sent_again() -> None:
    """With or without an idempotency key; the answer says that it is stored, and it is stored once."""
    for name in ("c-2", None):
        gate = asyncio.Event()
        stage = stage_with(ScriptedModel("One", gate, DONE), policy=TurnPolicy.REJECT)
        first = asyncio.create_task(stage.run(streamed(stage, "First")))
        await stage.store.reached["load_coach"].wait()
        request = msgspec.structs.replace(streamed(stage, "Second"), client_message_id=name)
        for _ in range(2):
            failed = (await stage.run(request))[-1]
            assert isinstance(failed, Failed)
            assert failed.code is ErrorCode.TURN_IN_PROGRESS
            waiting = failed.user_message
            assert waiting is not None
            assert waiting.content == "Second"
        gate.set()
        assert isinstance((await first)[-1], Completed)
        stage.model = again = ScriptedModel("Two", DONE)
        completed = (await stage.run(request))[-1]
        assert isinstance(completed, Completed)
        assert completed.user_message == waiting
        exchanges = [("user", "First"), ("assistant", "One"), ("user", "Second"), ("assistant", "Two")]
        assert stage.stored() == exchanges
        assert [message.text for message in again.prompts[-1].messages] == ["First", "One", "Second"]


async def test_a_message_that_waits_is_in_no_prompt_but_its_own_and_later_ones() -> None:
    """The run that it waits for breaks off, and is retried: its prompt does not have the newer message."""
    gate = asyncio.Event()
    stage = stage_with(ScriptedModel("One", gate), policy=TurnPolicy.REJECT)
    message = msgspec.structs.replace(streamed(stage, "First"), client_message_id="c-1")
    first = asyncio.create_task(stage.run(message))
    await stage.store.reached["load_coach"].wait()
    assert isinstance((await stage.run(streamed(stage, "Second")))[-1], Failed)
    gate.set()
    assert isinstance((await first)[-1], Failed)
    stage.model = again = ScriptedModel("One", DONE)
    assert isinstance((await stage.run(message))[-1], Completed)
    assert [each.text for each in again.prompts[-1].messages] == ["First"]
    stage.model = later = ScriptedModel("Three", DONE)
    assert isinstance((await stage.run(streamed(stage, "Third")))[-1], Completed)
    texts = [each.text for each in later.prompts[-1].messages]
    assert texts == ["First", "One", "Second", "Third"]


async def test_the_same_message_after_a_crash_is_answered_again() -> None:
    """It joins the run until the lease expires; then the text is reset and the partial reply replaced."""
    stage = stage_with(lease_s=SHORT_LEASE_S)
    await abandoned_run(stage, "So far")
    events = await stage.run(streamed(stage))
    assert shown(events[:3]) == "So far"
    assert sum(isinstance(event, Reset) for event in events) == 1
    assert isinstance(events[-1], Completed)
    assert shown(events) == "Hello, you!"
    assert stage.stored() == [QUESTION, ("assistant", "Hello, you!")]


async def test_concurrent_closers_of_a_dead_run_close_it_once() -> None:
    """Exactly one partial reply is stored, whichever closer wins."""
    stage = stage_with()
    await abandoned_run(stage, "So far")
    closer = run_closer(msgspec.structs.replace(stage.dependencies, clock=Later(3600)), stage.settings)
    await asyncio.gather(*(closer.settle(KEY) for _ in range(20)))
    assert stage.stored() == [QUESTION, ("assistant-", "So far")]


async def test_a_fenced_lease_holder_writes_no_more() -> None:
    """Its reader continues with the new holder's text; uncommitted text is reset."""
    stage = stage_with(ScriptedModel("Mine", asyncio.Event()))
    running = asyncio.create_task(stage.run(streamed(stage)))
    run_id = await _committed(stage, 1, text="Mine")
    last = await stage.store.read_last(KEY, run_id)
    assert last is not None
    number, entries = last.number, (Claimed(), Said(", theirs", 4))
    for content in entries:
        there: LogEntry | None = last
        while there is not None:
            number += 1
            entry = LogEntry(number, 2, _lease_end(), "other", content)
            there = await stage.store.append(KEY, run_id, entry)
    closer = run_closer(stage.dependencies, stage.settings)
    await closer.close(KEY, run_id, RunState.of(await stage.store.read_log(KEY, run_id)))
    events = await asyncio.wait_for(running, PATIENCE_S)
    assert isinstance(events[-1], Failed)
    assert shown(events) == "Mine, theirs"
    assert stage.stored() == [QUESTION, ("assistant-", "Mine, theirs")]


# Deletion


async def _all_of(events: AsyncGenerator[Event, None]) -> list[Event]:
    return [event async for event in events]


async def test_deleting_a_conversation_in_mid_reply_stops_the_model_and_ends_every_stream() -> None:
    """The lease holder notices at its next renewal, as do other readers; nothing of the run is recreated."""
    stage = stage_with(ScriptedModel("So far", asyncio.Event()))
    running = asyncio.create_task(stage.run(streamed(stage)))
    run_id = await _committed(stage, 1, text="So far")
    looks = stage.store.steps.count("read_log")
    joined = asyncio.create_task(resumed(stage, LogPoint(run_id, -1)))
    while stage.store.steps.count("read_log") == looks:  # noqa: ASYNC110 (another task's count)
        await asyncio.sleep(0.001)
    await stage.store.delete_conversation(KEY)
    for events in await asyncio.wait_for(asyncio.gather(running, joined), PATIENCE_S):
        failed = events[-1]
        assert isinstance(failed, Failed)
        assert (failed.code, failed.retryable) == (ErrorCode.CONVERSATION_NOT_FOUND, False)
    await stage.store.create_conversation(Conversation(KEY, "Again", NOW, NOW))
    assert stage.stored() == []
    assert stage.store.claims == set()
    assert await stage.store.read_log(KEY, run_id) == []


async def test_deleting_a_conversation_ends_a_message_that_waits_for_a_dead_run_at_once() -> None:
    """The message does not wait out the lease of a deleted run."""
    stage = stage_with(policy=TurnPolicy.REJECT)
    await abandoned_run(stage, "So far")
    parts = msgspec.structs.replace(stage.dependencies, clock=Later(60))
    loop = asyncio.get_running_loop()
    turn = events_of(run_turn, streamed(stage, "And now?"), parts, stage.settings)
    waiting = asyncio.create_task(_all_of(turn))
    looks = stage.store.steps.count("read_log")
    while stage.store.steps.count("read_log") < looks + 2:  # noqa: ASYNC110 (another task's count)
        await asyncio.sleep(0.001)
    deleted_at = loop.time()
    await stage.store.delete_conversation(KEY)
    failed = (await waiting)[-1]
    assert isinstance(failed, Failed)
    assert failed.code is ErrorCode.CONVERSATION_NOT_FOUND
    assert loop.time() - deleted_at < 2 * QUICK.longest_poll_s


@pytest.mark.parametrize(
    ("policy", "text"), [(TurnPolicy.REJECT, QUESTION[1]), (TurnPolicy.INTERRUPT, "And now?")]
)
async def test_a_deletion_just_after_the_run_was_found_is_reported_as_not_found(
    monkeypatch: pytest.MonkeyPatch, policy: TurnPolicy, text: str
) -> None:
    """The sender named no run, so what is missing is the conversation, for a join as for a stop."""
    stage = stage_with(policy=policy)
    await abandoned_run(stage, "So far")
    look = stage.store.read_log

    async def look_and_delete(key: ConversationKey, run_id: str, *, after: int = -1) -> Sequence[LogEntry]:
        monkeypatch.undo()
        found = await look(key, run_id, after=after)
        await stage.store.delete_conversation(key)
        return found

    monkeypatch.setattr(stage.store, "read_log", look_and_delete)
    failed = (await stage.run(streamed(stage, text)))[-1]
    assert isinstance(failed, Failed)
    assert failed.code is ErrorCode.CONVERSATION_NOT_FOUND


# Deadline and failover


async def test_a_reader_that_reconnects_near_the_deadline_gets_the_same_text() -> None:
    """The next invocation continues the committed text; the model is asked to continue, not repeat."""
    text = "".join(f"word{number} " for number in range(40)) + "end"
    stage = stage_with(Continuing(text, waits_at=25))
    first = await stage.run(streamed(stage, deadline=stage.request(within_s=1.3).deadline))
    assert isinstance(first[-1], Reconnect)
    before = shown(first)
    assert before == "".join(f"word{number} " for number in range(25))
    again = await resumed(stage, first[-1].point)
    assert shown(again, before) == text
    assert isinstance(again[-1], Completed)
    assert [prompt.said for prompt in stage.model.prompts] == ["", before]
    assert stage.stored() == [QUESTION, ("assistant", text)]


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_a_reply_that_never_ends_is_written_by_as_many_invocations_as_are_allowed(limit: int) -> None:
    """All but the last tell the reader to reconnect; the last stores the text so far and fails."""

    class Endless(ScriptedModel):
        can_continue = True

        async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
            assert deadline > 0
            self.prompts.append(prompt)
            yield TextDelta(f"part {len(self.prompts)} ")
            await asyncio.Event().wait()

    stage = stage_with(Endless(), epochs=limit)
    events = await stage.run(streamed(stage, deadline=stage.request(within_s=1.2).deadline))
    while isinstance(events[-1], Reconnect):
        events += await resumed(stage, events[-1].point, within_s=1.2)
    said = "".join(f"part {number} " for number in range(1, limit + 1))
    assert shown(events) == said
    assert stage.model.calls == limit
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert failed.code is ErrorCode.DEADLINE_EXCEEDED
    assert failed.partial_reply is not None
    assert failed.partial_reply.content == said
    assert stage.stored() == [QUESTION, ("assistant-", said)]


async def test_a_run_that_no_reader_continues_is_closed_with_what_was_said() -> None:
    """A reader that was told to reconnect and does not loses none of the committed text."""
    stage = stage_with(Continuing("One two three", waits_at=2))
    first = await stage.run(streamed(stage, deadline=stage.request(within_s=1.2).deadline))
    assert isinstance(first[-1], Reconnect)
    await run_closer(msgspec.structs.replace(stage.dependencies, clock=Later(3600)), stage.settings).settle(
        KEY
    )
    assert stage.stored() == [QUESTION, ("assistant-", "One two ")]


@pytest.mark.parametrize("breaks_at", [1, 7])
async def test_a_reply_that_breaks_off_is_continued(breaks_at: int) -> None:
    """It continues from the text so far; no word is repeated or lost."""
    text = "".join(f"word{number} " for number in range(12)) + "end"
    stage = stage_with(Continuing(text, breaks_at=breaks_at))
    events = await stage.run(streamed(stage))
    assert shown(events) == text
    assert not any(isinstance(event, Reset) for event in events)
    assert isinstance(events[-1], Completed)
    assert stage.model.calls == 2
    assert stage.stored() == [QUESTION, ("assistant", text)]


async def test_a_model_that_cannot_continue_starts_over() -> None:
    """The reader gets a reset; no text is duplicated in the stream, the log or the store."""

    class Fragile(ScriptedModel):
        async def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
            self.script = ("Half of ", ModelStreamBroken()) if self.calls == 0 else ("All of it", DONE)
            async for event in super().stream(prompt, deadline=deadline):
                yield event

    stage = stage_with(Fragile())
    events = await stage.run(streamed(stage))
    assert sum(isinstance(event, Reset) for event in events) == 1
    assert shown(events) == "All of it"
    completed = events[-1]
    assert isinstance(completed, Completed)
    assert completed.point is not None
    assert shown(await resumed(stage, LogPoint(completed.point.run_id, -1))) == "All of it"
    assert stage.stored() == [QUESTION, ("assistant", "All of it")]


async def test_a_reply_breaks_off_for_good_the_second_time() -> None:
    """There is one retry, and the text so far is kept."""
    stage = stage_with(ScriptedModel("Half", ModelStreamBroken()))
    failed = (await stage.run(streamed(stage)))[-1]
    assert isinstance(failed, Failed)
    assert failed.code is ErrorCode.MODEL_STREAM_BROKEN
    assert stage.model.calls == 2
    assert stage.stored() == [QUESTION, ("assistant-", "Half")]


async def test_another_model_answers_where_the_first_cannot_be_reached() -> None:
    """The fallback model takes over before any text was sent."""
    stage = stage_with(ScriptedModel(ModelUnavailable()))
    fallback = ScriptedModel()
    parts = msgspec.structs.replace(stage.dependencies, fallback_model=fallback)
    events = [event async for event in events_of(run_turn, streamed(stage), parts, stage.settings)]
    assert isinstance(events[-1], Completed)
    assert (stage.model.calls, fallback.calls) == (1, 1)


async def test_a_run_for_a_reader_is_produced_by_the_first_who_reads_it() -> None:
    """The other readers follow the log; the model is called once."""
    from coachstream.conversation.turn.turn import new_user_message

    stage = stage_with()
    opener = run_opener(stage.dependencies, stage.settings)
    run_id = await opener.open_for_reader(
        KEY,
        partial(new_user_message, stage.request(), stage.dependencies),
        "run-1",
        deadline=stage.request().deadline,
    )
    assert (run_id, stage.stored()) == ("run-1", [QUESTION])
    streams = await asyncio.gather(*(resumed(stage, LogPoint(run_id, -1)) for _ in range(5)))
    assert {shown(events) for events in streams} == {"Hello, you!"}
    assert stage.model.calls == 1
    assert len({str(events[-1]) for events in streams}) == 1


async def test_a_joined_reader_that_leaves_stops_polling() -> None:
    """Otherwise it would cost a poll a second until the run ends."""
    stage = stage_with(ScriptedModel("One", asyncio.Event()))
    running = asyncio.create_task(stage.run(streamed(stage)))
    await _committed(stage, 1)
    left = asyncio.Event()
    async with aclosing(
        events_of(run_turn, streamed(stage), stage.dependencies, stage.settings, has_left=left.is_set)
    ) as events:
        async for event in events:
            if isinstance(event, Chunk):
                left.set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def _committed(stage: Stage, number: int, *, text: str = "") -> str:
    """Wait until the log has an entry with at least this number, and this text; return the run's id."""
    while True:
        run_id = (await stage.store.read_queue(KEY)).run_id
        state = None if run_id is None else RunState.of(await stage.store.read_log(KEY, run_id))
        if run_id is not None and state is not None and state.last.number >= number and text in state.text:
            return run_id
        await asyncio.sleep(0.001)
