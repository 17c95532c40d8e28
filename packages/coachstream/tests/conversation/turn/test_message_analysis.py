"""What the analysis of a message adds to a turn, and that the turn is the same without it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from coachstream.conversation.analysis import MemoryTraits, MessageAnalysis
from coachstream.conversation.errors import HandOffFailed, ModelThrottled, StorageUnavailable
from coachstream.conversation.events import Chunk, Completed, Contextual, Event, Failed, Stage
from coachstream.conversation.model import Importance, Memory, MemorySource, StopReason
from coachstream.conversation.ports import ModelStop, SummaryReason, SummaryRequest, WorkoutLog
from coachstream.conversation.prompt.prompt import SectionName
from coachstream.conversation.turn.notices import SENTENCES, notice
from coachstream.conversation.turn.request import ResumeRequest
from coachstream.conversation.turn.settings import ContextLimits
from coachstream.conversation.turn.turn import resume_run, run_opener, run_turn, run_watcher
from support.doubles import ScriptedModel
from support.turn_events import events_of
from support.turns import KEY, NOW, AnalyserDouble, RecallDouble, Recorded, a_match
from support.turns import Stage as TurnStage

WORKOUT = MessageAnalysis(workout_confidence=0.51)
ALLERGY = MessageAnalysis(
    memory_confidence=0.71,
    memory_text="I am allergic to peanuts",
    traits=MemoryTraits("constraint", Importance.HIGH, tags=("allergy",)),
    language="de",
)
PLEASE_REMEMBER = "Please remember that I am allergic to peanuts. How was my week?"


def a_stage(verdict: MessageAnalysis | None, model: ScriptedModel | None = None) -> TurnStage:
    """A conversation whose messages get this verdict, with everything to hand off to."""
    stage = TurnStage(model)
    stage.workouts, stage.summaries = Recorded(), Recorded()
    stage.analyser = None if verdict is None else AnalyserDouble(verdict)
    return stage


def taken(stage: TurnStage) -> list[WorkoutLog]:
    """The workouts that were handed off."""
    assert stage.workouts is not None
    return stage.workouts.taken


def stages_of(events: list[Event]) -> list[Stage]:
    """What the reader was told besides the reply."""
    return [event.stage for event in events if isinstance(event, Contextual)]


def words_of(events: list[Event]) -> str:
    """The reply as it was streamed."""
    return "".join(event.content for event in events if isinstance(event, Chunk))


def told_to_model(stage: TurnStage) -> str:
    """What the last prompt says of the message."""
    sections = {section.name: section.text for section in stage.model.prompts[-1].sections}
    return sections.get(SectionName.ADDITIONAL_CONSTRAINTS, "")


def slowly(seconds: float) -> AnalyserDouble:
    """An analysis that finds a workout so late."""
    analyser = AnalyserDouble(WORKOUT)
    analyser.delay_s = seconds
    return analyser


# Workouts


async def test_a_workout_in_plain_words_is_handed_off() -> None:
    """All of the message, as no command; the reader is notified after it, and before the end."""
    stage = a_stage(WORKOUT)
    request = stage.request("I just did 5x5 squats", streamed=True)
    events = await stage.run(msgspec.structs.replace(request, time_zone="Asia/Tokyo"))
    [workout] = taken(stage)
    message = stage.store.messages[KEY][0]
    assert workout.time_zone == "Asia/Tokyo"
    assert (workout.text, workout.command, workout.message_id) == ("I just did 5x5 squats", None, message.id)
    assert isinstance(events[-1], Completed)
    assert events[-2] == notice(Stage.WORKOUT_HANDED_OFF, "en")
    assert message.metadata.is_handed_off


async def test_a_workout_is_handed_off_before_the_reply_is_stored() -> None:
    """If the process dies in between, the process that replies to the message does it."""
    stage = a_stage(WORKOUT)
    await stage.run()
    steps = [step for step in stage.store.steps if step in {"mark_handed_off", "finish_run"}]
    assert steps == ["mark_handed_off", "finish_run"]


@pytest.mark.parametrize("confidence", [0.0, 0.5])
async def test_a_confidence_of_one_half_is_not_enough_for_a_workout(confidence: float) -> None:
    """The existing system's threshold, at its edge."""
    stage = a_stage(MessageAnalysis(workout_confidence=confidence, memory_confidence=0.7))
    assert stages_of(await stage.run(stage.request(streamed=True))) == []
    assert taken(stage) == []
    assert await stage.store.saved_memories(KEY.user_id) == []


@pytest.mark.parametrize("text", ["/else I did 5x5", "/save-memory I did 5x5"])
async def test_nothing_is_looked_for_in_a_command(text: str) -> None:
    """Known or not (existing system, section 8)."""
    stage = a_stage(MessageAnalysis(workout_confidence=1.0, memory_confidence=1.0))
    await stage.run(stage.request(text))
    assert taken(stage) == []
    sources = [memory.source for memory in await stage.store.saved_memories(KEY.user_id)]
    assert sources == [MemorySource.EXPLICIT_REQUEST] * text.startswith("/save")


@pytest.mark.parametrize("verdict", [None, MessageAnalysis(), WORKOUT])
async def test_a_command_depends_on_no_verdict(verdict: MessageAnalysis | None) -> None:
    """Nor does it matter that there is none."""
    stage = a_stage(verdict)
    events = await stage.run(stage.request("/log-workout 5x5", streamed=True))
    assert [(workout.text, workout.command) for workout in taken(stage)] == [("5x5", "log-workout")]
    assert stages_of(events) == [Stage.WORKOUT_HANDED_OFF]


async def test_a_workout_is_handed_off_once_over_retries() -> None:
    """A turn that fails hands off nothing; the one that succeeds does, and no later one."""
    stage = a_stage(WORKOUT)
    request = stage.request("I did 5x5", client_message_id="c-1")
    broken = ScriptedModel("Well", ModelStop(StopReason.INTERRUPTED))
    handed_off = []
    for model in (broken, broken, ScriptedModel(), ScriptedModel()):
        stage.model = model
        await stage.run(request)
        handed_off.append(len(taken(stage)))
    assert handed_off == [0, 0, 1, 1]


@pytest.mark.parametrize("text", ["I did 5x5", "/log-workout 5x5"])
async def test_a_workout_whose_reply_could_not_be_stored_is_not_handed_off_again(text: str) -> None:
    """Its message is marked; the next attempt at it knows that, and so does the model."""
    stage = a_stage(WORKOUT)
    stage.store.failures["finish_run"] = [StorageUnavailable(), StorageUnavailable()]
    request = stage.request(text, client_message_id="c-1", streamed=True)
    first = await stage.run(request)
    assert isinstance(first[-1], Failed)
    second = await stage.run(stage.request(text, client_message_id="c-1", streamed=True))
    assert isinstance(second[-1], Completed)
    assert len(taken(stage)) == 1
    assert (stages_of(first), stages_of(second)) == ([Stage.WORKOUT_HANDED_OFF], [])
    assert "has sent it to their training log" in told_to_model(stage)


async def test_a_workout_is_handed_off_once_over_a_takeover() -> None:
    """The next lease holder of a released run analyses the message again."""
    stage = a_stage(WORKOUT, ScriptedModel("Well, ", asyncio.Event()))
    stage.model.can_continue = True
    first = await stage.run(stage.request("I did 5x5", within_s=2.0, streamed=True))
    assert taken(stage) == []
    run = (await stage.store.read_queue(KEY)).run_id
    assert run is not None
    stage.model = ScriptedModel("done.", ModelStop(StopReason.END_TURN))
    stage.model.can_continue = True
    resume = ResumeRequest(KEY, run, asyncio.get_running_loop().time() + 30)
    for _ in range(2):
        watcher = run_watcher(resume, stage.dependencies, stage.settings)
        await watcher.open()
        second = [
            each async for each in events_of(resume_run, resume, watcher, stage.dependencies, stage.settings)
        ]
    assert isinstance(second[-1], Completed)
    assert second[-1].reply.content == "Well, done."
    assert len(taken(stage)) == 1
    assert stages_of(first) == []


async def test_a_hand_off_that_fails_is_told_as_such() -> None:
    """And neither marked nor claimed; the reply is the same."""
    stage = a_stage(WORKOUT)
    assert stage.workouts is not None
    stage.workouts.failure = HandOffFailed("x")
    events = await stage.run(stage.request("I did 5x5", streamed=True))
    assert stages_of(events) == [Stage.WORKOUT_NOT_HANDED_OFF]
    assert words_of(events) == "Hello, you!"
    assert stage.reports[0].failed_follow_ups == ("workout hand-off",)
    assert not stage.store.messages[KEY][0].metadata.is_handed_off


async def test_a_hand_off_that_fails_is_told_at_the_end_where_there_are_no_such_events() -> None:
    """One that works is not: the reply goes into the training."""
    for failure, expected in (
        (HandOffFailed("x"), "Hello, you!\n\nThe workout could not"),
        (None, "Hello, you!"),
    ):
        stage = a_stage(WORKOUT)
        assert stage.workouts is not None
        stage.workouts.failure = failure
        said = words_of(await stage.run(stage.request("I did 5x5")))
        assert said.startswith(expected)
        assert (said == expected) is (failure is None)


async def test_a_workout_whose_reply_was_stopped_is_handed_off() -> None:
    """The user wants no more words; the training was done."""
    stage = a_stage(WORKOUT, ScriptedModel("Well", asyncio.Event()))
    async for event in events_of(run_turn, stage.request("I did 5x5"), stage.dependencies, stage.settings):
        if isinstance(event, Chunk):
            run = (await stage.store.read_queue(KEY)).run_id
            assert run is not None
            await run_opener(stage.dependencies, stage.settings).stop(KEY, run)
    assert len(taken(stage)) == 1


# Memories


async def test_a_memory_in_plain_words_is_saved_with_its_traits() -> None:
    """The quoted part of the message alone; the reader is notified in the language of the message."""
    recall = RecallDouble()
    stage = a_stage(ALLERGY)
    stage.recall = recall
    events = await stage.run(stage.request(PLEASE_REMEMBER, streamed=True))
    [memory] = await stage.store.saved_memories(KEY.user_id)
    message = stage.store.messages[KEY][0]
    assert memory == Memory(
        id=f"user_memory_user-1_{message.id[4:-5]}",
        content="I am allergic to peanuts",
        memory_type="constraint",
        importance=Importance.HIGH,
        created_at=NOW,
        tags=("allergy",),
        source=MemorySource.CONVERSATION,
    )
    assert notice(Stage.MEMORY_SAVED, "de", memory=memory.content) in events
    assert words_of(events) == "Hello, you!"
    assert recall.remembered == [memory]


async def test_what_is_not_word_for_word_in_the_message_is_not_remembered() -> None:
    """A model chooses what to remember, and does not write it: then all of the message is."""
    stage = a_stage(msgspec.structs.replace(ALLERGY, memory_text="The user dies of peanuts"))
    await stage.run(stage.request(PLEASE_REMEMBER))
    [memory] = await stage.store.saved_memories(KEY.user_id)
    assert memory.content == PLEASE_REMEMBER


async def test_a_memory_for_one_coach_stays_with_that_coach() -> None:
    """The others get a null coach."""
    traits = msgspec.structs.replace(ALLERGY.traits, is_coach_specific=True)
    stage = a_stage(msgspec.structs.replace(ALLERGY, traits=traits))
    await stage.run(stage.request(PLEASE_REMEMBER))
    [memory] = await stage.store.saved_memories(KEY.user_id)
    assert memory.coach_id == KEY.coach_id


async def test_the_model_knows_what_is_done_and_nothing_else() -> None:
    """A saved memory; one that is being saved; and nothing of a verdict that is not there yet."""
    stage = a_stage(ALLERGY)
    stage.store.gates["load_history"] = history = asyncio.Event()
    turn = asyncio.create_task(stage.run(stage.request(PLEASE_REMEMBER, streamed=True)))
    await stage.store.reached["save_memory"].wait()
    history.set()
    await turn
    assert "has saved it" in told_to_model(stage)

    stage = a_stage(ALLERGY)
    stage.store.gates["save_memory"] = saving = asyncio.Event()
    async for event in events_of(
        run_turn, stage.request(PLEASE_REMEMBER), stage.dependencies, stage.settings
    ):
        if isinstance(event, Chunk):
            saving.set()
    assert "has saved" not in told_to_model(stage)

    stage = a_stage(None)
    stage.analyser = slowly(0.5)
    await stage.run(stage.request("I did 5x5", streamed=True))
    assert told_to_model(stage) == ""
    assert len(taken(stage)) == 1


async def test_a_memory_that_cannot_be_saved_is_told_as_such() -> None:
    """And cannot be found by meaning either."""
    stage = a_stage(ALLERGY)
    stage.recall = RecallDouble()
    stage.store.failures["save_memory"] = [StorageUnavailable()]
    events = await stage.run(stage.request(PLEASE_REMEMBER, streamed=True))
    assert stages_of(events) == [Stage.MEMORY_NOT_SAVED]
    assert stage.recall.remembered == []


async def test_a_reader_without_such_events_is_told_at_the_end_of_the_reply() -> None:
    """Where they are switched off, or the reply is requested in one piece; streamed is stored."""
    for streamed, contextual_events in ((True, False), (False, True)):
        stage = a_stage(ALLERGY)
        stage.settings = msgspec.structs.replace(stage.settings, contextual_events=contextual_events)
        events = await stage.run(stage.request(PLEASE_REMEMBER, streamed=streamed))
        assert stages_of(events) == []
        expected = 'Hello, you!\n\n\u2705 I will remember this: "I am allergic to peanuts"'
        assert words_of(events) == expected
        assert stage.stored()[-1] == ("assistant", expected)


async def test_a_memory_is_one_over_retries() -> None:
    """Its id follows from the message's."""
    stage = a_stage(ALLERGY, ScriptedModel(ModelStop(StopReason.INTERRUPTED)))
    request = stage.request(PLEASE_REMEMBER, client_message_id="c-1")
    await stage.run(request)
    stage.model = ScriptedModel()
    await stage.run(request)
    assert len(await stage.store.saved_memories(KEY.user_id)) == 1


async def test_what_a_blocked_message_asks_for_is_not_kept() -> None:
    """The memory is deleted, and the reader told so; no workout is handed off."""
    stage = a_stage(
        msgspec.structs.replace(ALLERGY, workout_confidence=1.0),
        ScriptedModel("No.", ModelStop(StopReason.CONTENT_FILTERED)),
    )
    events = await stage.run(stage.request(PLEASE_REMEMBER, streamed=True))
    assert stages_of(events) == [Stage.MEMORY_SAVED, Stage.MEMORY_WITHDRAWN]
    assert await stage.store.saved_memories(KEY.user_id) == []
    assert taken(stage) == []


async def test_the_memory_of_an_earlier_attempt_at_a_blocked_message_is_not_kept_either() -> None:
    """Although this attempt's analysis fails."""
    stage = a_stage(ALLERGY, ScriptedModel(ModelStop(StopReason.INTERRUPTED)))
    request = stage.request(PLEASE_REMEMBER, client_message_id="c-1")
    await stage.run(request)
    assert len(await stage.store.saved_memories(KEY.user_id)) == 1
    assert stage.analyser is not None
    stage.analyser.failure = ModelThrottled("x")
    stage.model = ScriptedModel("No.", ModelStop(StopReason.CONTENT_FILTERED))
    await stage.run(request)
    assert await stage.store.saved_memories(KEY.user_id) == []


@pytest.mark.parametrize("delay_s", [0.0, 0.5], ids=["in time", "late"])
async def test_a_memory_by_command_gets_its_traits_whenever_they_arrive(delay_s: float) -> None:
    """It is saved and confirmed without waiting for them."""
    stage = a_stage(ALLERGY)
    assert stage.analyser is not None
    stage.analyser.delay_s = delay_s
    stage.recall = RecallDouble()
    await stage.run(stage.request("/save-memory No peanuts"))
    [memory] = await stage.store.saved_memories(KEY.user_id)
    assert (memory.content, memory.source) == ("No peanuts", MemorySource.EXPLICIT_REQUEST)
    assert (memory.memory_type, memory.importance, memory.tags) == ("constraint", "high", ("allergy",))
    assert stage.recall.remembered == [memory]


async def test_a_memory_by_command_has_the_defaults_without_a_verdict() -> None:
    """As if nothing analysed messages."""
    stage = a_stage(ALLERGY)
    assert stage.analyser is not None
    stage.analyser.failure = ModelThrottled("x")
    await stage.run(stage.request("/save-memory No peanuts"))
    [memory] = await stage.store.saved_memories(KEY.user_id)
    assert (memory.memory_type, memory.importance) == ("preference", Importance.MEDIUM)


# Summaries and search


async def test_a_complex_message_asks_for_a_summary() -> None:
    """For that reason, unless the count does so anyway."""
    stage = a_stage(MessageAnalysis(is_complex=True))
    for number in range(3):
        await stage.run(stage.request(f"Message {number}"))
    assert stage.summaries is not None
    assert stage.summaries.taken == [
        SummaryRequest(KEY, SummaryReason.COMPLEXITY, 2),
        SummaryRequest(KEY, SummaryReason.COMPLEXITY, 4),
        SummaryRequest(KEY, SummaryReason.MESSAGE_COUNT, 6),
    ]


@pytest.mark.parametrize("needs_search", [True, False])
async def test_a_search_that_is_not_needed_is_not_waited_for(needs_search: bool) -> None:
    """Nor is it missed; one that is needed has its budget."""
    recall = RecallDouble(a_match("Rest is training"))
    recall.gate = asyncio.Event()
    stage = a_stage(MessageAnalysis(needs_search=needs_search))
    stage.recall = recall
    began = asyncio.get_running_loop().time()
    async for event in events_of(run_turn, stage.request(), stage.dependencies, stage.settings):
        if isinstance(event, Chunk):
            break
    waited_s = asyncio.get_running_loop().time() - began
    assert (waited_s >= stage.settings.limits.optional_budget_s) is needs_search


async def test_a_search_that_turns_out_needless_while_the_profile_loads_is_not_missed() -> None:
    """The profile has a longer budget than the search, so a verdict can still arrive between the two."""
    recall = RecallDouble(a_match("Rest is training"))
    recall.gate = asyncio.Event()
    stage = a_stage(MessageAnalysis(needs_search=False))
    stage.recall = recall
    stage.settings = msgspec.structs.replace(
        stage.settings, limits=ContextLimits(optional_budget_s=0, profile_budget_s=30)
    )
    assert stage.analyser is not None
    stage.analyser.gate = asyncio.Event()
    stage.store.gates["load_profile"] = profile = asyncio.Event()
    turn = asyncio.create_task(stage.run())
    await stage.store.reached["load_profile"].wait()
    stage.analyser.gate.set()
    for _ in range(10):
        await asyncio.sleep(0)
    profile.set()
    assert isinstance((await turn)[-1], Completed)
    assert stage.reports[0].left_out == ()


# The same turn, but for what is missing


@pytest.mark.parametrize("failure", [ModelThrottled("x"), ValueError("x"), TimeoutError()])
async def test_an_analysis_that_fails_fails_no_turn(failure: Exception) -> None:
    """Whatever it raises; the report names it."""
    stage = a_stage(WORKOUT)
    assert stage.analyser is not None
    stage.analyser.failure = failure
    with_it = await stage.run()
    without = await TurnStage().run()
    assert list(map(type, with_it)) == list(map(type, without))
    assert words_of(with_it) == words_of(without)
    assert stage.reports[0].failed_follow_ups == ("message analysis",)


async def test_an_analysis_that_hangs_delays_no_chunk() -> None:
    """And the end no longer than its budget."""
    stage = a_stage(WORKOUT)
    assert stage.analyser is not None
    stage.analyser.gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    began, times = loop.time(), dict[type[Event], float]()
    async for event in events_of(run_turn, stage.request(), stage.dependencies, stage.settings):
        times[type(event)] = loop.time() - began
    assert times[Chunk] < 0.01  # of virtual time: no waiting
    assert times[Completed] == pytest.approx(stage.settings.analysis_budget_s, abs=0.1)
    assert taken(stage) == []
    assert stage.reports[0].failed_follow_ups == ("message analysis",)


async def test_a_workout_that_is_found_after_the_budget_is_handed_off() -> None:
    """As long as the reply is being written."""
    pause = asyncio.Event()
    stage = a_stage(None, ScriptedModel("Well, ", pause, "done.", ModelStop(StopReason.END_TURN)))
    stage.analyser = slowly(2.0)
    asyncio.get_running_loop().call_later(3.0, pause.set)
    await stage.run(stage.request("I did 5x5"))
    assert len(taken(stage)) == 1


async def test_a_reply_that_is_over_first_waits_for_a_workout_within_the_budget() -> None:
    """The hand-off is part of the turn."""
    stage = a_stage(None)
    stage.analyser = slowly(1.4)
    await stage.run(stage.request("I did 5x5"))
    assert len(taken(stage)) == 1


async def test_a_turn_that_is_cancelled_while_it_waits_for_the_analysis_keeps_its_reply() -> None:
    """The reply is complete: the model had ended it."""
    stage = a_stage(WORKOUT)
    assert stage.analyser is not None
    stage.analyser.gate = asyncio.Event()
    events: list[Event] = []
    has_said_all = asyncio.Event()

    async def send(event: Event) -> None:
        events.append(event)
        if isinstance(event, Chunk) and event.content == "you!":
            has_said_all.set()

    turn = asyncio.create_task(run_turn(stage.request(), stage.dependencies, stage.settings, send=send))
    await has_said_all.wait()
    await asyncio.sleep(0.1)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    assert stage.stored()[-1] == ("assistant", "Hello, you!")


async def test_a_message_that_has_its_reply_costs_no_hand_off() -> None:
    """Its analysis is given up with the context."""
    stage = a_stage(MessageAnalysis())
    request = stage.request("I did 5x5", client_message_id="c-1")
    await stage.run(request)
    assert stage.analyser is not None
    stage.analyser.verdict = msgspec.structs.replace(ALLERGY, workout_confidence=1.0)
    assert stages_of(await stage.run(request)) == []
    assert taken(stage) == []


def test_every_language_has_every_sentence() -> None:
    """The text of a memory goes into the one that has a place for it."""
    for language, sentences in SENTENCES.items():
        assert set(sentences) == set(Stage)
        for stage in Stage:
            content = notice(stage, language, memory="{braces} 100 %").content
            assert ("{braces} 100 %" in content) is (stage is Stage.MEMORY_SAVED)
    assert notice(Stage.MEMORY_WITHDRAWN, "xx") == notice(Stage.MEMORY_WITHDRAWN, "en")
