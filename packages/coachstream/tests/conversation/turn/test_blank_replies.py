"""A reply without visible text does not count: the model is asked once more, then the turn fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import ErrorCode, ModelStreamBroken
from coachstream.conversation.events import Chunk, Completed, Event, Failed, Reset
from coachstream.conversation.ids import milliseconds_of, run_id
from coachstream.conversation.model import StopReason
from coachstream.conversation.ports import ModelEvent, ModelStop
from coachstream.conversation.prompt.prompt import Prompt
from coachstream.conversation.run_log import Content, LogEntry, Opened, Released, Said
from coachstream.conversation.run_store import RunBegun
from coachstream.conversation.turn.request import ResumeRequest
from coachstream.conversation.turn.turn import new_user_message, resume_run, run_turn, run_watcher
from coachstream.conversation.visible_text import is_blank
from support.doubles import ScriptedModel
from support.turn_events import events_of
from support.turns import KEY, NOW, Stage

DONE = ModelStop(StopReason.END_TURN)
QUESTION = ("user", "How am I doing?")
SAVED = '\u2705 I will remember this: "I hate burpees"\n\n'

BLANK_REPLIES: dict[str, tuple[str, ...]] = {
    "line ends": (" \n", "\n"),
    "nothing at all": (),
    "empty deltas": ("", ""),
    "zero-width characters": ("\u200b", "\u200d\ufeff", "\u2060"),
    "blanks of other scripts": ("\u3000\u00a0", "\u3164", "\u2800"),
}
BLANK = pytest.mark.parametrize("deltas", BLANK_REPLIES.values(), ids=BLANK_REPLIES)


class ModelInTurns(ScriptedModel):
    """Plays one script per call, and repeats the last one."""

    def __init__(self, *scripts: tuple[str | ModelEvent | Exception, ...]) -> None:
        super().__init__()
        self._scripts = list(scripts)

    def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        self.script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        return super().stream(prompt, deadline=deadline)


def text_of(events: list[Event]) -> str:
    return "".join(event.content for event in events if isinstance(event, Chunk))


@BLANK
async def test_a_blank_reply_is_an_error_that_can_be_retried(deltas: tuple[str, ...]) -> None:
    """Nothing of it is sent or stored, and a retry of the message gets its reply."""
    stage = Stage(ScriptedModel(*deltas, DONE))
    request = stage.request(client_message_id="c-1")
    events = await stage.run(request)
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (failed.code, failed.retryable) == (ErrorCode.MODEL_STREAM_BROKEN, True)
    assert failed.partial_reply is None
    assert text_of(events) == ""
    assert stage.stored() == [QUESTION]
    stage.model = ScriptedModel()
    assert isinstance((await stage.run(request))[-1], Completed)


@BLANK
async def test_a_model_that_said_nothing_is_asked_once_more(deltas: tuple[str, ...]) -> None:
    """The retry happens within the turn; the reader sees one clean reply."""
    stage = Stage(ModelInTurns((*deltas, DONE), ("Well ", "done.", DONE)))
    events = await stage.run()
    assert isinstance(events[-1], Completed)
    assert text_of(events) == "Well done."
    assert not any(isinstance(event, Reset) for event in events)
    assert stage.model.calls == 2
    assert stage.stored() == [QUESTION, ("assistant", "Well done.")]


@BLANK
async def test_another_model_is_asked_where_there_is_one(deltas: tuple[str, ...]) -> None:
    """The fallback model starts from the same prompt."""
    stage = Stage(ScriptedModel(*deltas, DONE))
    fallback = ScriptedModel("Well done.", DONE)
    parts = msgspec.structs.replace(stage.dependencies, fallback_model=fallback)
    events = [event async for event in events_of(run_turn, stage.request(), parts, stage.settings)]
    assert isinstance(events[-1], Completed)
    assert text_of(events) == "Well done."
    assert (stage.model.calls, fallback.calls) == (1, 1)
    assert fallback.prompts == stage.model.prompts


async def test_a_model_that_breaks_off_in_blanks_is_asked_once_more() -> None:
    """A model that breaks off after visible text is retried the same way."""
    stage = Stage(ModelInTurns(("\n", ModelStreamBroken("x")), ("Well done.", DONE)))
    events = await stage.run()
    assert text_of(events) == "Well done."
    assert not any(isinstance(event, Reset) for event in events)


@BLANK
async def test_a_confirmation_alone_is_no_reply(deltas: tuple[str, ...]) -> None:
    """The confirmation is kept as an interrupted reply."""
    stage = Stage(ScriptedModel(*deltas, DONE))
    events = await stage.run(stage.request("/save-memory I hate burpees"))
    assert isinstance(events[-1], Failed)
    assert stage.model.calls == 2
    assert stage.stored()[-1] == ("assistant-", SAVED)


@pytest.mark.parametrize("reason", [StopReason.MAX_TOKENS, StopReason.STOP_SEQUENCE])
async def test_a_blank_reply_up_to_the_length_limit_is_no_reply(reason: StopReason) -> None:
    """The model's stop reason makes no difference."""
    stage = Stage(ScriptedModel("\n" * 1000, ModelStop(reason)))
    assert isinstance((await stage.run())[-1], Failed)


async def test_blanks_before_the_first_word_wait_for_it() -> None:
    """Nothing else is held back, and the stream is exactly the model's text."""
    stage = Stage(ScriptedModel("\n", " ", "Well", "\n", " ", "done", " ", DONE))
    events = await stage.run()
    assert [event.content for event in events if isinstance(event, Chunk)] == [
        *("\n Well", "\n", " ", "done", " ")
    ]
    assert stage.stored()[-1] == ("assistant", "\n Well\n done ")


async def left_in_mid_reply(stage: Stage, text: str, said: str) -> ResumeRequest:
    """A run that its first lease holder released at the deadline with this text committed."""
    message = new_user_message(stage.request(text), stage.dependencies)
    run = run_id(NOW, stage.random.randrange)
    at = milliseconds_of(NOW)
    begun = await stage.store.begin_run(KEY, message, run, LogEntry(0, 1, at + 9_000, "w", Opened("", at=at)))
    assert isinstance(begun, RunBegun)
    contents: tuple[Content, ...] = (Said(said, 0), Released())
    for number, content in enumerate(contents, 1):
        await stage.store.append(KEY, run, LogEntry(number, 1, at + 9_000, "w", content))
    return ResumeRequest(KEY, run, stage.request().deadline)


async def resumed(stage: Stage, request: ResumeRequest) -> list[Event]:
    watcher = run_watcher(request, stage.dependencies, stage.settings)
    await watcher.open()
    return [
        event async for event in events_of(resume_run, request, watcher, stage.dependencies, stage.settings)
    ]


class Continuing(ModelInTurns):
    can_continue = True


@BLANK
async def test_a_model_that_adds_nothing_to_words_has_finished_them(deltas: tuple[str, ...]) -> None:
    """The earlier part of the reply is visible, so the whole is not blank."""
    stage = Stage(Continuing((*deltas, DONE)))
    events = await resumed(stage, await left_in_mid_reply(stage, "How am I doing?", "Well done."))
    assert isinstance(events[-1], Completed)
    assert events[-1].reply.content.rstrip("".join(deltas)) == "Well done."
    assert stage.model.calls == 1


@BLANK
async def test_a_run_that_was_left_with_its_confirmation_alone_has_no_reply(deltas: tuple[str, ...]) -> None:
    """The next lease holder distinguishes the model's text from the application's confirmation."""
    stage = Stage(Continuing((*deltas, DONE)))
    left = await left_in_mid_reply(stage, "/save-memory I hate burpees", SAVED)
    events = await resumed(stage, left)
    assert isinstance(events[-1], Failed)
    assert stage.model.calls == 2
    assert stage.stored()[-1] == ("assistant-", SAVED)


async def test_a_reply_that_begins_again_on_a_resumed_run_keeps_its_confirmation() -> None:
    """The application's confirmation stands whatever happens to the model's text."""
    stage = Stage(Continuing(("and", ModelStreamBroken("x"))))
    left = await left_in_mid_reply(stage, "/save-memory I hate burpees", f"{SAVED}Good ")
    parts = msgspec.structs.replace(stage.dependencies, fallback_model=ScriptedModel("Well done.", DONE))
    watcher = run_watcher(left, parts, stage.settings)
    await watcher.open()
    events = [event async for event in events_of(resume_run, left, watcher, parts, stage.settings)]
    assert isinstance(events[-1], Completed)
    assert events[-1].reply.content == f"{SAVED}Well done."


@given(deltas=st.lists(st.text("\n \u200b\u3164ab💪", max_size=3), max_size=8))
async def test_a_turn_completes_if_and_only_if_something_is_seen(deltas: list[str]) -> None:
    """If it completes, its chunks are exactly the model's text."""
    said = "".join(deltas)
    stage = Stage(ScriptedModel(*deltas, DONE))
    events = await stage.run()
    assert isinstance(events[-1], Failed if is_blank(said) else Completed)
    assert text_of(events) == ("" if is_blank(said) else said)
