"""The last seconds of a turn: an operation that hangs must cost neither the reply nor the terminal event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from coachstream.conversation.another_try import AnotherTry
from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.events import Chunk, Completed, Event, Failed
from coachstream.conversation.model import ConversationKey, Message, Role, StopReason
from coachstream.conversation.ports import ModelEvent, ModelStop, TextDelta
from coachstream.conversation.prompt.prompt import Prompt, SectionName
from coachstream.conversation.quotas import Spent
from coachstream.conversation.run_log import LogEntry
from coachstream.conversation.turn.settings import ContextLimits, TurnSettings
from coachstream.conversation.turn.turn import run_turn
from support.doubles import ScriptedModel
from support.turn_events import events_of
from support.turns import KEY, NOW, Stage

QUESTION = ("user", "How am I doing?")
DONE = ModelStop(StopReason.END_TURN)


def _ending(events: list[Event]) -> Failed:
    failed = events[-1]
    assert isinstance(failed, Failed)
    return failed


@pytest.mark.parametrize("step", ["begin_run", "load_coach", "load_history", "append", "finish_run"])
async def test_a_store_that_hangs_costs_no_ending(step: str) -> None:
    """Whichever step hangs, the terminal event goes out before the deadline, when the process may die."""
    stage = Stage(ScriptedModel("Some ", "words", asyncio.Event()))
    stage.store.gates[step] = asyncio.Event()
    request = stage.request(within_s=1.3)
    events = await stage.run(request)
    assert asyncio.get_running_loop().time() < request.deadline
    assert _ending(events).code is ErrorCode.DEADLINE_EXCEEDED


async def test_a_save_that_hangs_ends_long_before_a_far_deadline() -> None:
    """Saving has its own timeout: a user must not wait minutes for the end of a complete reply."""
    stage = Stage()
    stage.store.gates["finish_run"] = asyncio.Event()
    began = asyncio.get_running_loop().time()
    events = await stage.run(stage.request(within_s=300))
    assert asyncio.get_running_loop().time() - began < 2 * stage.settings.save_reserve_s
    assert _ending(events).code is ErrorCode.STORAGE_UNAVAILABLE


async def test_closing_a_turn_whose_store_hangs_ends() -> None:
    """A server that shuts down does not wait out a long deadline."""
    stage = Stage(ScriptedModel("Some words", asyncio.Event()))
    stage.store.gates["finish_run"] = asyncio.Event()
    began = asyncio.get_running_loop().time()
    async with aclosing(
        events_of(run_turn, stage.request(within_s=300), stage.dependencies, stage.settings)
    ) as events:
        async for event in events:
            if isinstance(event, Chunk):
                break
    assert asyncio.get_running_loop().time() - began < 2 * stage.settings.save_reserve_s


class _BadAtEnding:
    """A model whose stream hangs or raises when it is closed."""

    display_name = "bad at ending"
    can_continue = False
    is_usable = True

    def __init__(self, *, raises: Exception | None) -> None:
        self._raises = raises

    async def stream(self, _prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
        assert deadline > 0
        try:
            yield TextDelta("Some words")
            yield ModelStop(StopReason.CONTENT_FILTERED)
        finally:
            if self._raises is not None:
                raise self._raises
            await asyncio.Event().wait()


@pytest.mark.parametrize("raises", [None, RuntimeError("secret words")], ids=["hangs", "raises"])
async def test_a_model_that_cannot_be_closed_costs_neither_text_nor_the_code(
    raises: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The text so far is saved, and the error code is the turn's, not the clean-up's."""
    stage = Stage()
    stage.model = _BadAtEnding(raises=raises)  # type: ignore[assignment]
    events = await stage.run()
    assert _ending(events).code is ErrorCode.CONTENT_FILTERED
    assert stage.stored() == [QUESTION, ("assistant-", "Some words")]
    assert "secret words" not in caplog.text


async def test_a_reply_is_never_saved_under_two_ids() -> None:
    """A save whose response was lost may have succeeded, so every retry saves the same message."""
    stage = Stage()
    tried: list[Message] = []
    finish = stage.store.finish_run

    async def finish_run(
        key: ConversationKey,
        run_id: str,
        ended: LogEntry,
        reply: Message | None,
        spent: Spent | None = None,
        another_try: AnotherTry | None = None,
    ) -> LogEntry | None:
        assert reply is not None
        tried.append(reply)
        return await finish(key, run_id, ended, reply, spent, another_try)

    stage.store.finish_run = finish_run  # type: ignore[method-assign]
    stage.store.failures["finish_run"] = [_unavailable() for _ in range(9)]
    assert _ending(await stage.run()).code is ErrorCode.STORAGE_UNAVAILABLE
    assert len(tried) == 2
    assert tried[0] == tried[1]
    assert tried[0].metadata.stop_reason is StopReason.END_TURN


def _unavailable() -> Exception:
    from coachstream.conversation.errors import StorageUnavailable

    return StorageUnavailable()


@pytest.mark.parametrize("said", [[], ["Some words"]], ids=["nothing said", "partial lost"])
async def test_a_failure_does_not_claim_that_text_was_saved(said: list[str]) -> None:
    """The error sentence mentions a saved partial reply only if there is one."""
    stage = Stage(ScriptedModel(*said))
    stage.store.failures["finish_run"] = [_unavailable() for _ in range(9)]
    if not said:
        stage.model = ScriptedModel("")
    failed = _ending(await stage.run())
    assert failed.partial_reply is None
    assert "saved" not in failed.sentence


async def test_the_number_of_the_exchange_is_not_guessed() -> None:
    """A history cut at its limit does not show how many exchanges there were."""
    prompts: list[Prompt] = []

    class Reading(ScriptedModel):
        def stream(self, prompt: Prompt, *, deadline: float) -> AsyncGenerator[ModelEvent, None]:
            prompts.append(prompt)
            return super().stream(prompt, deadline=deadline)

    stage = Stage(Reading())
    stage.settings = TurnSettings(save_reserve_s=1.0, limits=ContextLimits(messages=4))
    for number in range(2):
        stage.store.messages[KEY] = [
            Message(f"msg_{n}", Role.USER if n % 2 == 0 else Role.ASSISTANT, f"m{n}", NOW)
            for n in range(2 + 2 * number)
        ]
        assert isinstance((await stage.run())[-1], Completed)
    known, unknown = ({section.name for section in prompt.sections} for prompt in prompts)
    assert SectionName.USER in known
    assert SectionName.USER not in unknown
