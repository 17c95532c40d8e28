"""Side effects of a turn: memories, hand-offs, counters, summaries and the report."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial

import msgspec
import pytest

from coachstream.conversation.errors import ErrorCode, HandOffFailed, StorageUnavailable
from coachstream.conversation.events import Chunk, Completed, Failed, Reset
from coachstream.conversation.model import Importance, Memory, MemorySource, StopReason, Usage
from coachstream.conversation.ports import ModelStop, SummaryReason, SummaryRequest
from coachstream.conversation.prompt.prompt import SectionName
from coachstream.conversation.turn.request import ResumeRequest
from coachstream.conversation.turn.save_memory import NOT_SAVED, USAGE
from coachstream.conversation.turn.turn import (
    new_user_message,
    resume_run,
    run_opener,
    run_turn,
    run_watcher,
)
from support.doubles import ScriptedModel
from support.turn_events import events_of
from support.turns import KEY, NOW, RecallDouble, Recorded, Stage, a_match, a_memory, a_workout

SAVED = '\u2705 I will remember this: "I hate burpees"\n\n'


def _chunks(events: list[object]) -> list[str]:
    return [event.content for event in events if isinstance(event, Chunk)]


# Memories


async def test_a_memory_is_saved_and_then_confirmed_in_the_first_words() -> None:
    """The streamed text is the stored text; the memory is indexed for search once the reply is stored."""
    recall = RecallDouble()
    stage = Stage(recall=recall)
    seen: list[int] = []

    async for event in events_of(
        run_turn, stage.request("/save-memory I hate burpees"), stage.dependencies, stage.settings
    ):
        if isinstance(event, Chunk) and not seen:
            seen += [len(await stage.store.saved_memories(KEY.user_id)), len(recall.remembered)]
            assert event.content == SAVED

    assert seen == [1, 0]
    assert stage.stored()[-1] == ("assistant", f"{SAVED}Hello, you!")
    message = stage.store.messages[KEY][0]
    [memory] = await stage.store.saved_memories(KEY.user_id)
    assert memory == Memory(
        id=f"user_memory_user-1_{message.id[4:-5]}",
        content="I hate burpees",
        memory_type="preference",
        importance=Importance.MEDIUM,
        created_at=NOW,
        tags=("preference", "helpful"),
        source=MemorySource.EXPLICIT_REQUEST,
    )
    assert recall.remembered == [memory]


async def test_a_memory_that_cannot_be_saved_is_not_confirmed() -> None:
    """The user learns of the failure and still gets a reply."""
    stage = Stage()
    stage.store.failures["save_memory"] = [StorageUnavailable()]
    events = await stage.run(stage.request("/save-memory I hate burpees"))
    assert _chunks(list(events))[0] == f"{NOT_SAVED}\n\n"
    assert isinstance(events[-1], Completed)


async def test_a_memory_that_cannot_be_found_by_meaning_is_still_saved() -> None:
    """The confirmation depends on the store alone."""
    recall = RecallDouble()
    recall.failure = StorageUnavailable()
    stage = Stage(recall=recall)
    events = await stage.run(stage.request("/save-memory I hate burpees"))
    assert _chunks(list(events))[0] == SAVED
    assert isinstance(events[-1], Completed)
    assert stage.reports[0].failed_follow_ups == ("semantic memory",)


async def test_a_memory_that_was_not_saved_cannot_be_found_by_meaning_either() -> None:
    """Neither is an empty memory, nor that of a failed turn."""
    for text, failures, model in [
        ("/save-memory I hate burpees", [StorageUnavailable()], ScriptedModel()),
        ("/save-memory", [], ScriptedModel()),
        ("/save-memory I hate burpees", [], ScriptedModel("Well", ModelStop(StopReason.INTERRUPTED))),
    ]:
        recall = RecallDouble()
        stage = Stage(model, recall)
        stage.store.failures["save_memory"] = list(failures)
        await stage.run(stage.request(text))
        assert recall.remembered == []


async def test_an_empty_memory_is_answered_with_the_usage() -> None:
    """Nothing is saved."""
    stage = Stage()
    events = await stage.run(stage.request("/save-memory  \n "))
    assert _chunks(list(events))[0] == f"{USAGE}\n\n"
    assert await stage.store.saved_memories(KEY.user_id) == []


async def test_a_second_attempt_at_a_message_saves_no_second_memory() -> None:
    """The memory's id is derived from the message's id."""
    stage = Stage(ScriptedModel(ModelStop(StopReason.INTERRUPTED)))
    request = stage.request("/save-memory I hate burpees", client_message_id="c-1")
    assert isinstance((await stage.run(request))[-1], Failed)
    stage.model = ScriptedModel()
    assert isinstance((await stage.run(request))[-1], Completed)
    assert len(await stage.store.saved_memories(KEY.user_id)) == 1
    assert stage.stored()[-1] == ("assistant", f"{SAVED}Hello, you!")


async def test_the_prompt_says_that_the_application_has_handled_the_command() -> None:
    """So that the model does not confirm it again; prompts for other messages do not mention it."""
    for text, expected in [("/save-memory x", True), ("/log-workout x", True), ("/else x", False)]:
        stage = Stage()
        await stage.run(stage.request(text))
        [prompt] = stage.model.prompts
        names = {section.name for section in prompt.sections}
        assert (SectionName.ADDITIONAL_CONSTRAINTS in names) is expected
        assert prompt.messages[-1].text == text


async def test_memories_are_counted_only_once_the_first_text_is_out() -> None:
    """A slow counter update delays no chunk."""
    stage = Stage()
    stage.store.memories = [a_memory()]
    gate = stage.store.gates["note_memories_used"] = asyncio.Event()
    chunks: list[str] = []
    async for event in events_of(run_turn, stage.request(), stage.dependencies, stage.settings):
        if isinstance(event, Chunk):
            if not chunks:
                assert "note_memories_used" not in stage.store.steps
            chunks.append(event.content)
            if len(chunks) == 2:
                gate.set()
    assert chunks == ["Hello, ", "you!"]
    assert "note_memories_used" in stage.store.steps
    assert stage.reports[0].failed_follow_ups == ()


# Hand-offs


async def test_a_workout_is_handed_off_with_all_that_its_function_wants() -> None:
    """The text after the command, the coach as stored, and the time it was sent."""
    stage = Stage()
    stage.workouts = Recorded()
    await stage.run(stage.request("/log-workout 5x5 squats"))
    [workout] = stage.workouts.taken
    assert (workout.key, workout.text, workout.command) == (KEY, "5x5 squats", "log-workout")
    assert workout.coach.stored == stage.store.coaches[KEY.user_id, KEY.coach_id]
    assert workout.sent_at == stage.store.messages[KEY][0].timestamp


async def test_a_workout_command_without_words_hands_off_the_whole_message() -> None:
    """The existing system does the same."""
    stage = Stage()
    stage.workouts = Recorded()
    await stage.run(stage.request("/log-workout "))
    assert [workout.text for workout in stage.workouts.taken] == ["/log-workout "]


async def test_a_workout_is_handed_off_once_however_often_its_message_is_tried() -> None:
    """A client's retry does not log a second workout."""
    stage = Stage(ScriptedModel(ModelStop(StopReason.INTERRUPTED)))
    stage.workouts = Recorded()
    request = stage.request("/log-workout 5x5", client_message_id="c-1")
    handed_off = []
    for model in (stage.model, stage.model, ScriptedModel(), ScriptedModel()):
        stage.model = model
        await stage.run(request)
        handed_off.append(len(stage.workouts.taken))
    assert handed_off == [0, 0, 1, 1]


async def test_a_workout_whose_reply_was_stopped_is_handed_off() -> None:
    """Stopping the reply does not undo the workout."""
    stage = Stage(ScriptedModel("Well", asyncio.Event()))
    stage.workouts = Recorded()
    async for event in events_of(
        run_turn, stage.request("/log-workout 5x5"), stage.dependencies, stage.settings
    ):
        if isinstance(event, Chunk):
            run = (await stage.store.read_queue(KEY)).run_id
            assert run is not None
            await run_opener(stage.dependencies, stage.settings).stop(KEY, run)
    assert [workout.text for workout in stage.workouts.taken] == ["5x5"]


async def test_other_messages_are_not_handed_off() -> None:
    """Only the command hands a workout off."""
    stage = Stage()
    stage.workouts = Recorded()
    await stage.run(stage.request("I did 5x5 squats"))
    assert stage.workouts.taken == []


async def test_a_hand_off_that_hangs_delays_no_chunk_and_fails_no_turn() -> None:
    """It is cancelled when the turn's time for follow-ups is up; the report names it."""
    stage = Stage()
    stage.workouts = Recorded()
    stage.workouts.gate = asyncio.Event()
    stage.settings = msgspec.structs.replace(stage.settings, follow_ups_within_s=0.05)
    events = await stage.run(stage.request("/log-workout 5x5"))
    assert _chunks(list(events)) == ["Hello, ", "you!"]
    assert isinstance(events[-1], Completed)
    assert stage.reports[0].failed_follow_ups == ("workout hand-off",)


@pytest.mark.parametrize("failure", [HandOffFailed("x"), ValueError("x")])
async def test_a_hand_off_that_fails_fails_no_turn(failure: Exception) -> None:
    """The type of the exception makes no difference."""
    stage = Stage()
    stage.workouts = Recorded()
    stage.workouts.failure = failure
    assert isinstance((await stage.run(stage.request("/log-workout 5x5")))[-1], Completed)
    assert stage.reports[0].failed_follow_ups == ("workout hand-off",)


async def test_a_summary_is_asked_for_after_every_sixth_message() -> None:
    """A summary is requested at exactly 6 and 12 messages, after the reply is stored."""
    stage = Stage()
    stage.summaries = Recorded()
    counts = []
    for number in range(7):
        await stage.run(stage.request(f"Message {number}"))
        counts.append([summary.message_count for summary in stage.summaries.taken])
    assert counts == [[], [], [6], [6], [6], [6, 12], [6, 12]]
    assert stage.summaries.taken[0] == SummaryRequest(KEY, SummaryReason.MESSAGE_COUNT, 6)


async def test_an_odd_count_does_not_skip_a_summary() -> None:
    """A failed turn leaves an odd message count; crossing a multiple of six counts like reaching it."""
    stage = Stage(ScriptedModel(ModelStop(StopReason.INTERRUPTED)))
    stage.summaries = Recorded()
    await stage.run(stage.request("It fails"))
    stage.model = ScriptedModel()
    for number in range(6):
        await stage.run(stage.request(f"Message {number}"))
    assert [summary.message_count for summary in stage.summaries.taken] == [7, 13]


async def test_a_turn_that_fails_asks_for_no_summary() -> None:
    """There is nothing new to summarize."""
    stage = Stage(ScriptedModel("Well", ModelStop(StopReason.INTERRUPTED)))
    stage.summaries = Recorded()
    for number in range(6):
        await stage.run(stage.request(f"Message {number}"))
    assert stage.summaries.taken == []


# The report


async def test_a_completed_turn_reports_ids_counts_and_durations() -> None:
    """The report is made exactly once, at the end of the turn."""
    usage = Usage(100, 20, 80, 0, 900)
    stage = Stage(
        ScriptedModel("Hello, ", "you!", ModelStop(StopReason.END_TURN, usage)), RecallDouble(a_match())
    )
    stage.store.memories = [a_memory()]
    stage.store.workouts = [a_workout(), a_workout()]
    await stage.run()
    [report] = stage.reports
    question, reply = stage.store.messages[KEY]
    assert (report.key, report.user_message_id, report.reply_id) == (KEY, question.id, reply.id)
    assert (report.error, report.stop_reason) == (None, StopReason.END_TURN)
    assert (report.is_first_attempt, report.was_answered) == (True, False)
    assert (report.chunks, report.reply_chars, report.history_messages) == (2, 11, 1)
    assert (report.memories, report.workouts, report.matches) == (1, 2, 1)
    assert (report.left_out, report.failed_follow_ups) == ((), ())
    assert report.usage == usage
    assert report.context_ms is not None
    assert report.model_asked_ms is not None
    assert report.first_chunk_ms is not None
    assert report.model_first_text_ms is not None
    assert 0 <= report.context_ms <= report.model_asked_ms <= report.first_chunk_ms <= report.total_ms
    assert report.model_first_text_ms <= report.first_chunk_ms - report.model_asked_ms


async def test_a_failed_turn_reports_its_error_and_what_it_stored() -> None:
    """The report omits what never happened."""
    stage = Stage(ScriptedModel("Well", ModelStop(StopReason.INTERRUPTED)))
    await stage.run()
    stage.store.failures["begin_run"] = [StorageUnavailable()]
    await stage.run()
    broken, unbegun = stage.reports
    assert (broken.error, broken.stop_reason) == (ErrorCode.MODEL_STREAM_BROKEN, StopReason.INTERRUPTED)
    assert broken.reply_id == stage.store.messages[KEY][-1].id
    assert (unbegun.error, unbegun.user_message_id, unbegun.reply_id) == (
        ErrorCode.STORAGE_UNAVAILABLE,
        None,
        None,
    )
    assert (unbegun.context_ms, unbegun.first_chunk_ms, unbegun.is_first_attempt) == (None, None, None)


async def test_a_turn_whose_reply_was_already_stored_reports_that() -> None:
    """It cost no model call."""
    stage = Stage()
    request = stage.request(client_message_id="c-1")
    await stage.run(request)
    await stage.run(request)
    assert [report.was_answered for report in stage.reports] == [False, True]
    assert stage.reports[1].reply_id == stage.reports[0].reply_id


async def test_a_turn_that_is_closed_still_reports() -> None:
    """A reader that stops reading does not suppress the report."""
    stage = Stage()
    events = events_of(run_turn, stage.request(), stage.dependencies, stage.settings)
    async for event in events:
        if isinstance(event, Chunk):
            break
    await events.aclose()
    assert [report.stop_reason for report in stage.reports] == [StopReason.INTERRUPTED]


# What a content filter withheld


async def test_a_withheld_reply_is_marked_and_not_shown_to_the_model_again() -> None:
    """Otherwise the filter would block every later turn, too."""
    stage = Stage(ScriptedModel("Never", ModelStop(StopReason.CONTENT_FILTERED)))
    await stage.run(stage.request("A bad question"))
    assert stage.store.messages[KEY][-1].metadata.stop_reason is StopReason.CONTENT_FILTERED
    stage.model = ScriptedModel()
    await stage.run(stage.request("A good question"))
    [prompt] = stage.model.prompts
    assert [message.text for message in prompt.messages] == ["A good question"]


@pytest.mark.parametrize("said", ["Never", ""])
async def test_a_withheld_reply_is_reported_as_such_when_its_log_is_gone(said: str) -> None:
    """A retry gets the same ending as the first attempt, as a stream and through a ticket."""
    stage = Stage(ScriptedModel(said, ModelStop(StopReason.CONTENT_FILTERED)))
    request = stage.request("A bad question", client_message_id="c-1")
    first = (await stage.run(request))[-1]
    stage.store.forget_logs()
    again = (await stage.run(request))[-1]
    opener = run_opener(stage.dependencies, stage.settings)
    message_now = partial(new_user_message, request, stage.dependencies)
    run = await opener.open_for_reader(KEY, message_now, "run-2", deadline=request.deadline)
    resume = ResumeRequest(KEY, run, request.deadline)
    watcher = run_watcher(resume, stage.dependencies, stage.settings)
    await watcher.open()
    read = [
        event async for event in events_of(resume_run, resume, watcher, stage.dependencies, stage.settings)
    ][-1]
    for end in (first, again, read):
        assert isinstance(end, Failed)
        assert (end.code, end.retryable) == (ErrorCode.CONTENT_FILTERED, False)
        assert ("" if end.partial_reply is None else end.partial_reply.content) == said
    assert stage.model.calls == 1


async def test_the_memory_of_a_blocked_message_is_deleted_at_the_second_try() -> None:
    """If the second attempt fails too, the message is still marked as blocked."""
    for failures, left in ((1, 0), (2, 1)):
        stage = Stage(ScriptedModel("No.", ModelStop(StopReason.CONTENT_FILTERED)))
        stage.store.failures["delete_memory"] = [StorageUnavailable() for _ in range(failures)]
        await stage.run(stage.request("/save-memory A bad thing"))
        assert len(await stage.store.saved_memories(KEY.user_id)) == left
        assert stage.stored()[-1] == ("assistant-", "No.")


async def test_a_blocked_message_stays_blocked_when_its_reader_leaves() -> None:
    """Even if the reader leaves at the reset that revokes the confirmation."""
    stage = Stage(ScriptedModel("No.", ModelStop(StopReason.CONTENT_FILTERED)))
    async with aclosing(
        events_of(run_turn, stage.request("/save-memory A bad thing"), stage.dependencies, stage.settings)
    ) as events:
        async for event in events:
            if isinstance(event, Reset):
                break
    assert await stage.store.saved_memories(KEY.user_id) == []
    assert [message.is_withheld for message in stage.store.messages[KEY]] == [False, True]
