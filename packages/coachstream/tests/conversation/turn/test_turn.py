"""One turn over stateful ports: the order of its steps, and every way it can end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import msgspec
import pytest

from coachstream.conversation.errors import (
    CoachConfigNotFound,
    CoachStreamError,
    ConversationNotFound,
    ErrorCode,
    ModelThrottled,
    ModelUnavailable,
    StorageUnavailable,
    TurnInProgress,
)
from coachstream.conversation.events import Attached, Chunk, Completed, Event, Failed, Started
from coachstream.conversation.ids import milliseconds_of
from coachstream.conversation.model import Message, Role, StopReason
from coachstream.conversation.ports import ModelStop
from coachstream.conversation.runs.settings import TurnPolicy
from coachstream.conversation.turn.turn import run_closer, run_turn
from contracts.store_records import user_message
from support.doubles import ScriptedModel
from support.turn_events import events_of
from support.turns import KEY, NOW, Later, RecallDouble, Stage, a_match, a_memory, a_workout

QUESTION = ("user", "How am I doing?")
DONE = ModelStop(StopReason.END_TURN)


def _kinds(events: list[Event]) -> list[object]:
    """Events in brief: chunks by their text, failures by their code."""
    short: list[object] = []
    for event in events:
        match event:
            case Chunk(content):
                short.append(content)
            case Failed(code):
                short.append(code)
            case Attached():
                pass
            case _:
                short.append(type(event))
    return short


async def test_a_turn_starts_streams_saves_and_completes() -> None:
    """The whole sequence, and what is stored when it is over."""
    stage = Stage()
    events = await stage.run()
    assert _kinds(events) == [Started, "Hello, ", "you!", Completed]
    assert stage.stored() == [QUESTION, ("assistant", "Hello, you!")]
    assert stage.store.claims == set()
    completed = events[-1]
    assert isinstance(completed, Completed)
    assert [completed.user_message, completed.reply] == stage.store.messages[KEY]
    assert completed.user_message.id < completed.reply.id
    assert completed.reply.metadata.reply_to == completed.user_message.id
    assert completed.reply.metadata.model == "scripted"
    assert completed.user_message.timestamp == NOW


async def test_a_message_is_dated_by_its_sender_and_sorted_by_us() -> None:
    """A wrong client clock shows in the timestamp but does not change the order of the conversation."""
    stage = Stage()
    sent_at = NOW - timedelta(days=400)
    completed = (await stage.run(msgspec.structs.replace(stage.request(), sent_at=sent_at)))[-1]
    assert isinstance(completed, Completed)
    assert completed.user_message.timestamp == sent_at
    assert completed.user_message.id.startswith(f"msg_{milliseconds_of(NOW)}_")


async def test_start_comes_before_anything_is_read_or_written() -> None:
    """The user sees at once that the message has arrived."""
    stage = Stage()
    async with aclosing(events_of(run_turn, stage.request(), stage.dependencies, stage.settings)) as events:
        assert await anext(events) == Started()
        assert stage.store.steps == []


async def test_the_message_is_stored_before_the_model_is_called() -> None:
    """Even a model that replies at once finds the question in the store."""
    stage = Stage()
    seen: list[tuple[str, str]] = []

    class Looking(ScriptedModel):
        def stream(self, prompt, *, deadline):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            seen.extend(stage.stored())
            return super().stream(prompt, deadline=deadline)

    stage.model = Looking()
    await stage.run()
    assert seen == [QUESTION]


async def test_everything_is_loaded_at_the_same_time() -> None:
    """No read waits for another read or for the write."""
    stage = Stage()
    gate = asyncio.Event()
    names = ["begin_run", "load_coach", "load_history", "load_memories", "load_recent_workouts"]
    names += ["load_profile", "load_summary"]
    stage.store.gates = dict.fromkeys(names, gate)
    task = asyncio.create_task(stage.run())
    for _ in range(5):
        await asyncio.sleep(0)
    assert sorted(stage.store.steps) == sorted(names)
    gate.set()
    assert isinstance((await task)[-1], Completed)


@pytest.mark.parametrize("said", range(6))
@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (ModelThrottled(), ErrorCode.MODEL_THROTTLED),
        (ModelUnavailable(), ErrorCode.MODEL_UNAVAILABLE),
        (RuntimeError("secret words"), ErrorCode.PROCESSING_ERROR),
        (ModelStop(StopReason.CONTENT_FILTERED), ErrorCode.CONTENT_FILTERED),
        (ModelStop(StopReason.INTERRUPTED), ErrorCode.MODEL_STREAM_BROKEN),
    ],
    ids=lambda value: getattr(value, "value", type(value).__name__),
)
async def test_a_model_that_breaks_off_leaves_an_interrupted_reply(
    said: int, failure: Exception | ModelStop, code: ErrorCode, caplog: pytest.LogCaptureFixture
) -> None:
    """After any number of chunks, the text is stored, the failure has its code, and no claim is left."""
    words = [f"word{number} " for number in range(said)]
    stage = Stage(ScriptedModel(*words, failure, ""))
    events = await stage.run()
    assert _kinds(events) == [Started, *words, code]
    is_marked = code is ErrorCode.CONTENT_FILTERED
    partial = [("assistant-", "".join(words))] if said or is_marked else []
    assert stage.stored() == [QUESTION, *partial]
    assert stage.store.claims == set()
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (failed.partial_reply is not None) == bool(said)
    assert "secret words" not in failed.sentence + caplog.text


async def test_a_reply_cut_by_the_token_limit_is_complete_and_says_so() -> None:
    """The event carries the stop reason, so the user can ask for more."""
    stage = Stage(ScriptedModel("As I said", ModelStop(StopReason.MAX_TOKENS)))
    completed = (await stage.run())[-1]
    assert isinstance(completed, Completed)
    assert completed.stop_reason is StopReason.MAX_TOKENS
    assert stage.stored()[-1] == ("assistant", "As I said")


async def test_a_model_that_says_nothing_is_a_failure_without_a_reply() -> None:
    """An empty message bubble is of no use to a user."""
    stage = Stage(ScriptedModel("", DONE))
    assert _kinds(await stage.run()) == [Started, ErrorCode.MODEL_STREAM_BROKEN]
    assert stage.stored() == [QUESTION]
    assert stage.store.claims == set()


@pytest.mark.parametrize(
    ("step", "failure", "code"),
    [
        ("begin_run", ConversationNotFound(), ErrorCode.CONVERSATION_NOT_FOUND),
        ("begin_run", TurnInProgress("run-1", user_message(1)), ErrorCode.TURN_IN_PROGRESS),
        ("begin_run", StorageUnavailable(), ErrorCode.STORAGE_UNAVAILABLE),
        ("begin_run", OSError("disk"), ErrorCode.PROCESSING_ERROR),
        ("load_coach", CoachConfigNotFound(), ErrorCode.COACH_CONFIG_NOT_FOUND),
        ("load_coach", StorageUnavailable(), ErrorCode.STORAGE_UNAVAILABLE),
        ("load_history", StorageUnavailable(), ErrorCode.STORAGE_UNAVAILABLE),
        ("load_history", ValueError("odd"), ErrorCode.PROCESSING_ERROR),
    ],
)
async def test_a_store_that_fails_before_the_model_ends_the_turn(
    step: str, failure: Exception, code: ErrorCode
) -> None:
    """The model is not called, no claim is left, and a stored question stays stored."""
    stage = Stage()
    stage.store.failures[step] = [failure]
    assert _kinds(await stage.run()) == [Started, code]
    assert stage.model.calls == 0
    assert stage.stored() == ([] if step == "begin_run" else [QUESTION])
    assert stage.store.claims == set()


async def test_a_missing_conversation_is_reported_before_a_missing_coach() -> None:
    """The existing system checks in this order."""
    stage = Stage()
    stage.store.failures = {"begin_run": [ConversationNotFound()], "load_coach": [CoachConfigNotFound()]}
    assert _kinds(await stage.run()) == [Started, ErrorCode.CONVERSATION_NOT_FOUND]


async def test_a_reply_that_cannot_be_saved_is_tried_once_more() -> None:
    """A transient failure of the store costs a moment, not the reply."""
    stage = Stage()
    stage.store.failures["finish_run"] = [StorageUnavailable()]
    assert _kinds(await stage.run()) == [Started, "Hello, ", "you!", Completed]
    assert stage.stored() == [QUESTION, ("assistant", "Hello, you!")]


async def test_a_reply_that_cannot_be_saved_at_all_is_an_error_and_not_a_complete() -> None:
    """`complete` promises that the reply is stored."""
    stage = Stage()
    stage.store.failures["finish_run"] = [StorageUnavailable() for _ in range(9)]
    assert _kinds(await stage.run())[-1] is ErrorCode.STORAGE_UNAVAILABLE
    assert stage.stored() == [QUESTION]


async def test_a_reply_that_could_not_be_saved_is_not_lost() -> None:
    """The log keeps the committed text; it is stored when the run is closed after its lease expires."""
    said = asyncio.Event()
    stage = Stage(ScriptedModel("Hello, ", said, "you!", DONE))
    stage.store.failures["finish_run"] = [StorageUnavailable() for _ in range(2)]
    running = asyncio.create_task(stage.run())
    await stage.store.reached["append"].wait()
    said.set()
    assert _kinds(await running)[-1] is ErrorCode.STORAGE_UNAVAILABLE
    await run_closer(msgspec.structs.replace(stage.dependencies, clock=Later(3600)), stage.settings).settle(
        KEY
    )
    assert stage.stored() == [QUESTION, ("assistant-", "Hello, ")]
    assert stage.store.claims == set()


@pytest.mark.parametrize("failure", [StorageUnavailable(), RuntimeError("boom"), None], ids=str)
@pytest.mark.parametrize(
    "part", ["load_memories", "load_recent_workouts", "load_profile", "load_summary", "recall"]
)
async def test_an_optional_part_that_fails_or_is_slow_is_left_out(
    part: str, failure: Exception | None
) -> None:
    """The turn continues without it; the other parts are in the prompt."""
    recall = RecallDouble(a_match())
    stage = Stage(recall=recall)
    stage.store.memories, stage.store.workouts = [a_memory()], [a_workout()]
    await stage.store.put_profile(KEY.user_id, {"nickname": "Nan"})
    await stage.store.put_summary(KEY, {"narrative": "A long talk"})
    never = asyncio.Event()
    if part == "recall":
        recall.gate, recall.failure = (never, None) if failure is None else (None, failure)
    elif failure is None:
        stage.store.gates[part] = never
    else:
        stage.store.failures[part] = [failure]
    prompts = []

    class Reading(ScriptedModel):
        def stream(self, prompt, *, deadline):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            prompts.append(prompt)
            return super().stream(prompt, deadline=deadline)

    stage.model = Reading()
    completed = (await stage.run())[-1]
    assert isinstance(completed, Completed)
    text = "\n".join(section.text for section in prompts[0].sections)
    present = {
        "load_memories": "Trains at dawn" in text,
        "load_recent_workouts": "Five sets of squats" in text,
        "load_profile": "Nan" in text,
        "load_summary": "A long talk" in text,
        "recall": "Rest is training" in text,
    }
    assert present == {name: name != part for name in present}
    assert completed.semantic_context.matches == (0 if part == "recall" else 1)
    assert completed.timings.context < 20 * 1_000 * stage.settings.limits.optional_budget_s


async def test_near_the_deadline_the_model_is_stopped_and_its_words_are_saved() -> None:
    """The reserve is kept for saving: the partial reply is stored before the error is sent."""
    stage = Stage(ScriptedModel("So far", asyncio.Event()))
    events = await stage.run(stage.request(within_s=1.1))
    assert _kinds(events) == [Started, "So far", ErrorCode.DEADLINE_EXCEEDED]
    assert stage.stored() == [QUESTION, ("assistant-", "So far")]
    assert stage.store.claims == set()


async def test_a_store_that_hangs_ends_at_the_deadline() -> None:
    """No step can block a turn for ever; a claim that completes late is released."""
    stage = Stage()
    gate = stage.store.gates["begin_run"] = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, gate.set)
    events = await stage.run(stage.request(within_s=1.1))
    assert _kinds(events) == [Started, ErrorCode.DEADLINE_EXCEEDED]
    assert stage.model.calls == 0
    assert stage.store.claims == set()


async def test_a_retry_of_an_answered_message_gets_the_stored_reply() -> None:
    """The model is called once, and nothing is stored twice."""
    stage = Stage()
    await stage.run(stage.request(client_message_id="m-1"))
    events = await stage.run(stage.request(client_message_id="m-1"))
    assert _kinds(events) == [Started, "Hello, you!", Completed]
    assert stage.model.calls == 1
    assert stage.stored() == [QUESTION, ("assistant", "Hello, you!")]


async def test_a_retry_of_an_interrupted_message_replaces_the_partial_reply() -> None:
    """The question is stored once, and the model does not see its own partial reply to it."""
    stage = Stage(ScriptedModel("Half of", ModelThrottled()))
    earlier = [Message("msg_0", Role.USER, "Hi", NOW), Message("msg_1", Role.ASSISTANT, "Hello", NOW)]
    stage.store.messages[KEY] = list(earlier)
    await stage.run(stage.request(client_message_id="m-1"))
    prompts = []

    class Reading(ScriptedModel):
        def stream(self, prompt, *, deadline):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            prompts.append([(message.role, message.text) for message in prompt.messages])
            return super().stream(prompt, deadline=deadline)

    stage.model = Reading()
    await stage.run(stage.request(client_message_id="m-1"))
    assert prompts == [[(Role.USER, "Hi"), (Role.ASSISTANT, "Hello"), (Role.USER, "How am I doing?")]]
    assert stage.stored()[2:] == [QUESTION, ("assistant", "Hello, you!")]


async def test_the_history_is_shown_as_alternating_messages() -> None:
    """The new message comes last and only once, even if the history already holds it."""
    stage = Stage()
    earlier = Message("msg_1", Role.ASSISTANT, "Welcome", NOW)
    stage.store.messages[KEY] = [Message("msg_0", Role.USER, "Hi", NOW), earlier]
    prompts = []

    class Reading(ScriptedModel):
        def stream(self, prompt, *, deadline):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            prompts.append([(message.role, message.text) for message in prompt.messages])
            return super().stream(prompt, deadline=deadline)

    stage.model = Reading()
    await stage.run()
    assert prompts == [[(Role.USER, "Hi"), (Role.ASSISTANT, "Welcome"), (Role.USER, "How am I doing?")]]


async def test_a_character_cut_in_two_arrives_whole() -> None:
    """Surrogate halves in different deltas are joined; a lone one becomes U+FFFD."""
    stage = Stage(ScriptedModel("Go \ud83d", "\ude00!", "\ud83d", DONE))
    events = await stage.run()
    assert _kinds(events) == [Started, "Go ", "\U0001f600!", "\ufffd", Completed]
    assert stage.stored()[-1] == ("assistant", "Go \U0001f600!\ufffd")


async def test_closing_a_turn_in_the_middle_saves_what_was_said() -> None:
    """A reader that closes the generator interrupts the turn."""
    stage = Stage(ScriptedModel("One ", "two ", asyncio.Event()))
    async with aclosing(events_of(run_turn, stage.request(), stage.dependencies, stage.settings)) as events:
        async for event in events:
            if isinstance(event, Chunk) and event.content == "two ":
                break
    assert stage.stored() == [QUESTION, ("assistant-", "One two ")]
    assert stage.store.claims == set()


@pytest.mark.parametrize("steps", range(45))
async def test_a_cancelled_turn_leaves_no_claim_wherever_it_is_cancelled(steps: int) -> None:
    """At every point, the claim is released, and the text so far is stored in full or as interrupted."""
    stage = Stage(ScriptedModel("One ", "two", DONE))
    said: list[str] = []

    async def send(event: Event) -> None:
        if isinstance(event, Chunk):
            said.append(event.content)
        await asyncio.sleep(0)

    before = asyncio.all_tasks()
    task = asyncio.create_task(run_turn(stage.request(), stage.dependencies, stage.settings, send=send))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asyncio.all_tasks() == before
    assert stage.store.claims == set()
    stored = stage.stored()
    assert stored[:1] in ([], [QUESTION])
    replies = [text for role, text in stored if role.startswith("assistant")]
    assert replies in ([], ["".join(said)])


async def _cancel_at(stage: Stage, *steps: str) -> None:
    """Cancel a turn while each of these store operations is in progress; then let them finish."""
    gate = asyncio.Event()
    stage.store.gates = dict.fromkeys(steps, gate)
    task = asyncio.create_task(stage.run())
    for step in steps:
        await stage.store.reached[step].wait()
        task.cancel()
    asyncio.get_running_loop().call_later(0.05, gate.set)
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_a_reply_that_is_being_saved_when_the_turn_is_cancelled_is_saved() -> None:
    """The model has finished, so a cancellation at this point must not cost the reply."""
    stage = Stage()
    await _cancel_at(stage, "finish_run")
    assert stage.stored() == [QUESTION, ("assistant", "Hello, you!")]
    assert stage.store.claims == set()


async def test_words_that_are_being_saved_when_the_turn_is_cancelled_again_are_saved() -> None:
    """A second cancellation does not cost the text so far."""
    stage = Stage(ScriptedModel("One ", "two", ModelThrottled()))
    await _cancel_at(stage, "finish_run")
    assert stage.stored() == [QUESTION, ("assistant-", "One two")]
    assert stage.store.claims == set()


async def test_a_claim_in_progress_when_the_turn_is_cancelled_is_released() -> None:
    """The store may already have made the claim, with its response still in flight."""
    stage = Stage()
    await _cancel_at(stage, "begin_run")
    assert stage.stored() == [QUESTION]
    assert stage.store.claims == set()
    assert stage.store.steps[-1] == "finish_run"


async def test_two_turns_of_one_conversation_do_not_run_at_once() -> None:
    """The second turn fails because a reply is in progress; its message waits."""
    called = asyncio.Event()

    class Announcing(ScriptedModel):
        def stream(self, prompt, *, deadline):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            called.set()
            return super().stream(prompt, deadline=deadline)

    stage = Stage(Announcing("Wait", wait := asyncio.Event(), DONE))
    first = asyncio.create_task(stage.run())
    await called.wait()
    me_too = msgspec.structs.replace(stage.request("Me too"), policy=TurnPolicy.REJECT)
    assert _kinds(await stage.run(me_too)) == [Started, ErrorCode.TURN_IN_PROGRESS]
    wait.set()
    assert _kinds(await first) == [Started, "Wait", Completed]
    assert stage.stored() == [QUESTION, ("assistant", "Wait"), ("user", "Me too")]


def test_every_error_has_a_code_and_a_sentence_of_its_own() -> None:
    """The vocabulary is complete: one type gives each code its meaning, and no two types share a sentence."""

    def below(kind: type[CoachStreamError]) -> list[type[CoachStreamError]]:
        found = [child for child in kind.__subclasses__() if child.__module__ == CoachStreamError.__module__]
        return [*found, *(each for child in found for each in below(child))]

    kinds = below(CoachStreamError)
    assert sorted(kind.code for kind in kinds if "code" in vars(kind)) == sorted(ErrorCode)
    sentences = [vars(kind)["sentence"] for kind in kinds if "sentence" in vars(kind)]
    assert len(set(sentences)) == len(sentences) >= len(ErrorCode)
    assert all(sentence.endswith(".") for sentence in sentences)
