"""A turn that tries the last exchange again: what it sends, stores, and does not do twice."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from coachstream.conversation.analysis import MessageAnalysis
from coachstream.conversation.another_try import TryKind, TryRequest
from coachstream.conversation.errors import ErrorCode, ModelRejected, ModelUnavailable
from coachstream.conversation.events import Attached, Chunk, Completed, Event, Failed, Started
from coachstream.conversation.model import Message, Role, StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.runs.settings import TurnPolicy
from coachstream.conversation.turn.request import TurnRequest
from coachstream.conversation.turn.turn import run_opener
from support.doubles import ScriptedModel
from support.patience import PATIENCE_S
from support.turns import KEY, AnalyserDouble, RecallDouble, Recorded, Stage, a_memory

DONE = ModelStop(StopReason.END_TURN)


async def first_turn(stage: Stage, *script: object, text: str = "How am I doing?") -> tuple[Message, Message]:
    """Run an ordinary turn, and return its messages."""
    stage.model.script = script or ("Well.", DONE)  # type: ignore[assignment]
    await stage.run(stage.request(text, client_message_id="c-1", streamed=True))
    user_message, reply = stage.store.messages[KEY][-2:]
    return user_message, reply


def request(kind: TryKind, message: Message, *, text: str = "", key: str = "again-1") -> TurnRequest:
    """A request for another try."""
    deadline = asyncio.get_running_loop().time() + 30
    return TurnRequest(
        KEY,
        text,
        deadline,
        client_message_id=key,
        streamed=True,
        another_try=TryRequest(kind, message.id, key),
    )


async def asked(stage: Stage) -> None:
    """Wait until the model is asked for the second time, and has sent what it sends at once."""
    async with asyncio.timeout(PATIENCE_S):
        while stage.model.calls < 2:  # noqa: ASYNC110 (the double has no event for it)
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.001)  # virtual time, which passes when everything else waits


def text_of(events: list[Event]) -> str:
    """The text of all chunks."""
    return "".join(event.content for event in events if isinstance(event, Chunk))


async def test_a_regenerated_reply_is_sent_and_stored_like_any_other() -> None:
    """The prompt does not have the reply that it replaces."""
    stage = Stage()
    message, reply = await first_turn(stage)
    stage.model.script = ("Better.", DONE)
    events = await stage.run(request(TryKind.REGENERATE, reply))
    ending = events[-1]
    assert isinstance(ending, Completed)
    assert (ending.user_message, ending.reply.content, ending.reply.metadata.versions) == (
        message,
        "Better.",
        2,
    )
    assert text_of(events) == "Better."
    assert stage.store.messages[KEY] == [message, ending.reply]
    assert ending.reply.metadata.run_id != reply.metadata.run_id
    assert [each.text for each in stage.model.prompts[1].messages] == [
        each.text for each in stage.model.prompts[0].messages
    ]
    assert stage.store.claims == set()


async def test_an_edited_message_is_answered_without_the_first_one() -> None:
    """The prompt has the exchanges before it, and the new text."""
    stage = Stage()
    await first_turn(stage, "Hello!", DONE, text="Hi")
    stage.model.script = ("Well.", DONE)
    await stage.run(stage.request("Old text", client_message_id="c-2", streamed=True))
    message, reply = stage.store.messages[KEY][-2:]
    stage.model.script = ("Better.", DONE)
    events = await stage.run(request(TryKind.REPLACE, message, text="New text"))
    assert isinstance(events[-1], Completed)
    texts = [each.text for each in stage.model.prompts[-1].messages]
    assert [text.rpartition("\n\n")[2] for text in texts] == ["Hi", "Hello!", "New text"]
    assert stage.stored() == [
        ("user", "Hi"),
        ("assistant", "Hello!"),
        ("user", "New text"),
        ("assistant", "Better."),
    ]
    versions = await stage.store.load_versions(KEY, events[-1].reply.id)
    assert [each.reply for each in versions] == [reply, events[-1].reply]


async def test_a_continued_reply_begins_with_its_text_and_goes_on() -> None:
    """The reader gets the whole text of the run, and the model goes on from where it ended."""
    stage = Stage()
    stage.model.can_continue = True
    message, reply = await first_turn(stage, "One two", ModelStop(StopReason.MAX_TOKENS))
    stage.model.script = (" three.", DONE)
    events = await stage.run(request(TryKind.CONTINUE, reply))
    ending = events[-1]
    assert isinstance(ending, Completed)
    assert isinstance(events[0], Started)
    assert isinstance(events[1], Attached)
    assert [(each.content, each.offset) for each in events if isinstance(each, Chunk)] == [
        ("One two", 0),
        (" three.", 7),
    ]
    points = [each.point.number for each in events[1:3] if isinstance(each, Attached | Chunk) and each.point]
    assert points == [0, 1]
    assert stage.model.prompts[-1].said == "One two"
    assert (ending.reply.id, ending.reply.content) == (reply.id, "One two three.")
    assert stage.store.messages[KEY] == [message, ending.reply]


async def test_a_model_that_cannot_continue_is_not_asked_to() -> None:
    """Nor does a fallback start the reply over that the first model could continue."""
    stage = Stage()
    message, reply = await first_turn(stage, "One two", ModelStop(StopReason.MAX_TOKENS))
    again = request(TryKind.CONTINUE, reply)
    ending = (await stage.run(again))[-1]
    assert isinstance(ending, Failed)
    assert ending.code is ErrorCode.CANNOT_CONTINUE
    assert stage.model.calls == 1

    stage.model.can_continue = True
    stage.model.script = (ModelUnavailable(),)
    fallback = ScriptedModel()
    stage.fallback = fallback
    ending = (await stage.run(again))[-1]
    assert isinstance(ending, Failed)
    assert ending.code is ErrorCode.MODEL_UNAVAILABLE
    assert fallback.calls == 0
    assert stage.store.messages[KEY] == [message, reply]


@pytest.mark.parametrize("kind", [TryKind.REGENERATE, TryKind.REPLACE, TryKind.CONTINUE])
@pytest.mark.parametrize(
    ("script", "code"),
    [
        (("Half", ModelUnavailable()), ErrorCode.MODEL_UNAVAILABLE),
        ((ModelUnavailable(),), ErrorCode.MODEL_UNAVAILABLE),
        (("Half", ModelStop(StopReason.CONTENT_FILTERED)), ErrorCode.CONTENT_FILTERED),
    ],
    ids=["broken off", "unavailable", "filtered"],
)
async def test_a_failed_try_leaves_the_conversation_as_it_was(
    kind: TryKind, script: tuple[object, ...], code: ErrorCode
) -> None:
    """Its request can be repeated, and then succeeds."""
    stage = Stage()
    stage.model.can_continue = True
    message, reply = await first_turn(stage, "One", ModelStop(StopReason.MAX_TOKENS))
    stage.model.script = script  # type: ignore[assignment]
    named = message if kind is TryKind.REPLACE else reply
    text = "New" if kind is TryKind.REPLACE else ""
    ending = (await stage.run(request(kind, named, text=text)))[-1]
    assert isinstance(ending, Failed)
    assert (ending.code, ending.partial_reply) == (code, None)
    assert stage.store.messages[KEY] == [message, reply]
    assert stage.store.claims == set()
    stage.model.script = ("Two.", DONE)
    ending = (await stage.run(request(kind, named, text=text)))[-1]
    assert isinstance(ending, Completed)
    assert stage.store.messages[KEY] == [ending.user_message, ending.reply]


@pytest.mark.parametrize("has_text", [True, False])
async def test_a_stopped_try_with_text_is_the_chosen_version(has_text: bool) -> None:
    """Without text, the earlier version stays."""
    stage = Stage()
    message, reply = await first_turn(stage)
    gate = asyncio.Event()
    stage.model.script = ("Half", gate, DONE) if has_text else (gate, DONE)
    events: list[Event] = []
    turn = asyncio.create_task(stage.run(request(TryKind.REGENERATE, reply)))
    async with asyncio.timeout(PATIENCE_S):
        await asked(stage)
        run_id = (await stage.store.read_queue(KEY)).run_id
        assert run_id is not None
        assert await run_opener(stage.dependencies, stage.settings).stop(KEY, run_id)
        events = await turn
    ending = events[-1]
    if has_text:
        assert isinstance(ending, Completed)
        assert ending.stop_reason is StopReason.STOPPED
        assert [each.content for each in stage.store.messages[KEY]] == [message.content, "Half"]
    else:
        assert isinstance(ending, Failed)
        assert ending.code is ErrorCode.TURN_INTERRUPTED
        assert stage.store.messages[KEY] == [message, reply]


async def test_the_same_try_again_gets_the_same_reply() -> None:
    """The model is asked once; also after the log has expired."""
    stage = Stage()
    _, reply = await first_turn(stage)
    stage.model.script = ("Better.", DONE)
    again = request(TryKind.REGENERATE, reply)
    first = (await stage.run(again))[-1]
    assert isinstance(first, Completed)
    for forget in (False, True):
        if forget:
            stage.store.forget_logs()
        events = await stage.run(again)
        assert isinstance(events[-1], Completed)
        assert (text_of(events), events[-1].reply) == ("Better.", first.reply)
    assert stage.model.calls == 2


@pytest.mark.parametrize("policy", TurnPolicy)
async def test_a_try_during_another_run_is_refused_and_leaves_it_alone(policy: TurnPolicy) -> None:
    """Whatever a new message would do; nothing is stored."""
    stage = Stage()
    runs = msgspec.structs.replace(stage.settings.runs, policy=policy, first_poll_s=0.01, renew_every_s=0.02)
    stage.settings = msgspec.structs.replace(stage.settings, runs=runs)
    _, reply = await first_turn(stage)
    gate = asyncio.Event()
    stage.model.script = (gate, "Better.", DONE)
    turn = asyncio.create_task(stage.run(request(TryKind.REGENERATE, reply)))
    async with asyncio.timeout(PATIENCE_S):
        await asked(stage)
        other = request(TryKind.REPLACE, stage.store.messages[KEY][0], text="New", key="again-2")
        ending = (await stage.run(other))[-1]
        gate.set()
        assert isinstance((await turn)[-1], Completed)
    assert isinstance(ending, Failed)
    assert (ending.code, ending.user_message) == (ErrorCode.TURN_IN_PROGRESS, None)
    assert ending.run_id is not None
    assert "saved" not in ending.sentence
    assert [each.content for each in stage.store.messages[KEY]] == ["How am I doing?", "Better."]


async def test_a_message_that_is_being_replaced_is_not_queued_behind_that() -> None:
    """Its run would begin when the line no longer has it. A retry gets what has become of it."""
    stage = Stage()
    stage.model.script = (ModelRejected(),)
    await stage.run(stage.request("How am I doing?", client_message_id="c-1"))
    [message] = stage.store.messages[KEY]
    gate = asyncio.Event()
    stage.model.script = (gate, "Better.", DONE)
    turn = asyncio.create_task(stage.run(request(TryKind.REPLACE, message, text="How am I really doing?")))
    async with asyncio.timeout(PATIENCE_S):
        await asked(stage)
        resent = (await stage.run(stage.request("How am I doing?", client_message_id="c-1")))[-1]
        gate.set()
        assert isinstance((await turn)[-1], Completed)
    assert isinstance(resent, Failed)
    assert (resent.code, resent.user_message) == (ErrorCode.TURN_IN_PROGRESS, message)
    assert (await stage.store.read_queue(KEY)).first_run_id is None
    again = (await stage.run(stage.request("How am I doing?", client_message_id="c-1")))[-1]
    assert isinstance(again, Failed)
    assert again.code is ErrorCode.NOT_THE_LAST_EXCHANGE
    assert [each.content for each in stage.store.messages[KEY]] == ["How am I really doing?", "Better."]


async def test_an_earlier_exchange_is_refused_before_the_model_is_called() -> None:
    """Another device has gone on."""
    stage = Stage()
    _, reply = await first_turn(stage)
    await stage.run(stage.request("And now?", client_message_id="c-2"))
    before = list(stage.store.messages[KEY])
    ending = (await stage.run(request(TryKind.REGENERATE, reply)))[-1]
    assert isinstance(ending, Failed)
    assert (ending.code, ending.retryable) == (ErrorCode.NOT_THE_LAST_EXCHANGE, False)
    assert stage.model.calls == 2
    assert stage.store.messages[KEY] == before


async def test_a_second_try_does_nothing_twice_but_reply() -> None:
    """Workouts, memories and their counters stay at one for an exchange."""
    recall = RecallDouble()
    stage = Stage(recall=recall)
    stage.workouts = Recorded()
    stage.analyser = AnalyserDouble(
        MessageAnalysis(workout_confidence=1.0, memory_confidence=1.0, memory_text="I row at dawn")
    )
    stage.store.memories = [a_memory()]
    text = "I rowed. Remember that I row at dawn"
    _, reply = await first_turn(stage, "Fine.", DONE, text=text)
    assert len(stage.workouts.taken) == 1
    [memory] = await stage.store.saved_memories(KEY.user_id)
    counted = stage.store.steps.count("note_memories_used")
    assert counted == 1

    stage.model.script = ("Good.", DONE)
    ending = (await stage.run(request(TryKind.REGENERATE, reply)))[-1]
    assert isinstance(ending, Completed)
    assert (await stage.store.get_conversation(KEY)).total_messages == 2
    assert len(stage.workouts.taken) == 1
    assert await stage.store.saved_memories(KEY.user_id) == [memory]

    edit = request(TryKind.REPLACE, ending.user_message, text=f"{text}!", key="again-2")
    ending = (await stage.run(edit))[-1]
    assert isinstance(ending, Completed)
    assert (await stage.store.get_conversation(KEY)).total_messages == 2
    assert len(stage.workouts.taken) == 1
    [edited] = await stage.store.saved_memories(KEY.user_id)
    assert edited.id != memory.id
    assert stage.store.steps.count("note_memories_used") == counted


async def test_a_workout_that_only_the_edited_message_reports_is_handed_off() -> None:
    """Once, under the id of that message."""
    stage = Stage()
    stage.workouts = Recorded()
    message, _ = await first_turn(stage)
    stage.analyser = AnalyserDouble(MessageAnalysis(workout_confidence=1.0))
    ending = (await stage.run(request(TryKind.REPLACE, message, text="I rowed")))[-1]
    assert isinstance(ending, Completed)
    again = (await stage.run(request(TryKind.REGENERATE, ending.reply, key="again-2")))[-1]
    assert isinstance(again, Completed)
    assert [each.message_id for each in stage.workouts.taken] == [ending.user_message.id]
    assert ending.user_message.role is Role.USER


async def test_a_blocked_regeneration_takes_nothing_back_that_the_message_did() -> None:
    """The message was answered before."""
    stage = Stage()
    _, reply = await first_turn(stage, "Fine.", DONE, text="/save-memory I row at dawn")
    stage.model.script = (ModelStop(StopReason.CONTENT_FILTERED),)
    ending = (await stage.run(request(TryKind.REGENERATE, reply)))[-1]
    assert isinstance(ending, Failed)
    assert ending.code is ErrorCode.CONTENT_FILTERED
    assert len(await stage.store.saved_memories(KEY.user_id)) == 1


async def test_a_summary_of_the_older_version_is_due_again() -> None:
    """What the exchange was due for at first; nothing where it was not."""
    stage = Stage()
    stage.summaries = Recorded()
    stage.titles = Recorded()
    for number in range(3):
        assert stage.summaries.taken == []
        stage.model.script = (f"Reply {number}", DONE)
        await stage.run(stage.request(f"Text {number}", client_message_id=f"c-{number}"))
        reply = stage.store.messages[KEY][-1]
        if number < 2:
            await stage.run(request(TryKind.REGENERATE, reply, key=f"again-{number}"))
    assert [each.message_count for each in stage.summaries.taken] == [6]
    await stage.run(request(TryKind.REGENERATE, reply, key="again-9"))
    assert [each.message_count for each in stage.summaries.taken] == [6, 6]
