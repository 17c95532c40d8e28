"""Rules for turns with a guardrail, on every store, with a model on Bedrock behind real HTTP.

A subclass provides `store`, as for `ConversationStoreContract`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.events import Chunk, Completed, Event, Failed, GuardrailWarning, Reset
from coachstream.conversation.model import StopReason
from coachstream.conversation.ports import WorkoutLog
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.request import ResumeRequest, TurnRequest
from coachstream.conversation.turn.turn import resume_run, run_turn, run_watcher
from coachstream.language.bedrock import BedrockModel, BedrockWholeReply, RetryPolicy
from contracts.store_records import (
    KEY,
    RUN,
    SeedableStore,
    StoreContract,
    begin,
    ended,
    reply_to,
    store_reply,
    user_message,
)
from support.bedrock_guardrail import BLOCKED_INPUT, BLOCKED_OUTPUT, WordGuardrail
from support.bedrock_server import (
    BedrockServer,
    Disconnect,
    Refusal,
    Reply,
    bedrock_client,
    bedrock_server,
    opening,
    options_with,
    reply,
)
from support.bedrock_server import (
    text as deltas,
)
from support.turn_events import events_of
from support.turns import RecallDouble, Recorded

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient

    from coachstream.aws.clients import AwsClient

ModelType = type[BedrockModel | BedrockWholeReply]

OPTIONS = options_with(guardrail_id="abc123", retry=RetryPolicy(attempts=2, first_pause_s=0.001, least_s=0.1))
CONTINUING = msgspec.structs.replace(OPTIONS, model_id="us.anthropic.claude-3-7-sonnet-20250219-v1:0")
WARNING = msgspec.structs.replace(OPTIONS, guardrail_warns=True)
BOTH_WAYS = pytest.mark.parametrize("model_type", [BedrockModel, BedrockWholeReply])
THROTTLED = Refusal(429, "ThrottlingException")


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class Talk:
    """A conversation with a guarded model."""

    def __init__(
        self, store: SeedableStore, bedrock: BedrockServer, client: AwsClient[BedrockRuntimeClient]
    ) -> None:
        self.store = store
        self.bedrock = bedrock
        self.model_type: ModelType = BedrockModel
        self.options = OPTIONS
        self.recall = RecallDouble()
        self.workouts: Recorded[WorkoutLog] = Recorded()
        self._client = client

    async def say(self, text: str, *, client_message_id: str | None = None) -> list[Event]:
        """Run a turn and return all its events."""
        parts = self._parts
        request = TurnRequest(KEY, text, time.monotonic() + 30, client_message_id=client_message_id)
        return [event async for event in events_of(run_turn, request, parts)]

    async def fails(self, text: str, code: ErrorCode, *, client_message_id: str | None = None) -> Failed:
        """Run a turn that must fail with this code, and return the failure."""
        end = (await self.say(text, client_message_id=client_message_id))[-1]
        assert isinstance(end, Failed)
        assert end.code is code
        return end

    async def completes(self, text: str, *, client_message_id: str | None = None) -> Completed:
        """Run a turn that must complete, and return its last event."""
        end = (await self.say(text, client_message_id=client_message_id))[-1]
        assert isinstance(end, Completed)
        return end

    async def text_of_run(self, run_id: str) -> str:
        """The text seen by a reader that reads a finished run from the beginning."""
        text = ""
        for event in await self.events_of_run(run_id):
            if isinstance(event, Reset):
                text = ""
            elif isinstance(event, Chunk):
                assert event.offset == len(text)
                text += event.content
        return text

    async def events_of_run(self, run_id: str) -> list[Event]:
        """What a reader gets that reads a finished run from the beginning."""
        request = ResumeRequest(KEY, run_id, time.monotonic() + 30)
        watcher = run_watcher(request, self._parts)
        await watcher.open()
        return [event async for event in events_of(resume_run, request, watcher, self._parts)]

    @property
    def _parts(self) -> TurnDependencies:
        return TurnDependencies(
            runs=self.store,
            context=self.store,
            conversations=self.store,
            memories=self.store,
            model=self.model_type(self._client, self.options),
            fallback_model=BedrockModel(self._client, CONTINUING),
            recall=self.recall,
            clock=SystemClock(),
            workout_builder=self.workouts,
        )

    @property
    def guardrail(self) -> WordGuardrail:
        """The guardrail that the server applies."""
        assert self.bedrock.guardrail is not None
        return self.bedrock.guardrail

    @property
    def last_prompt(self) -> str:
        """The complete last request to the model."""
        return str(self.bedrock.requests[-1].body)


class GuardedTurnContract(StoreContract):
    """Turns with a guardrail."""

    @pytest.fixture
    async def talk(self, store: SeedableStore, aws_credentials: None) -> AsyncIterator[Talk]:  # noqa: ARG002
        async with bedrock_server() as bedrock, bedrock_client(bedrock.url) as client:
            bedrock.guardrail = WordGuardrail(("forbidden",))
            yield Talk(store, bedrock, client)

    @BOTH_WAYS
    async def test_a_blocked_word_whose_own_turn_failed_blocks_no_later_message(
        self, talk: Talk, model_type: ModelType
    ) -> None:
        """The word is in the history, but the guardrail judges only the newest message."""
        talk.model_type = model_type
        talk.bedrock.answers.extend([THROTTLED] * 4)
        await talk.fails("Is this forbidden?", ErrorCode.MODEL_THROTTLED)
        for text in ("How was my week?", "And what now?"):
            await talk.completes(text)
            assert talk.guardrail.judged[-1] == [text]

    async def test_a_reply_continued_by_another_model_is_judged_by_the_newest_message_alone(
        self, talk: Talk
    ) -> None:
        """This holds whether the first model produced part of the reply or nothing."""
        await begin(talk.store, user_message(1, "Is this forbidden?"))
        await talk.store.finish_run(KEY, RUN, ended(1), None)
        talk.options = CONTINUING
        talk.bedrock.answers.append(Reply([opening(), *deltas("Well "), Disconnect()]))
        completed = await talk.completes("How was my week?")
        assert completed.reply.content.startswith("Well ")
        assert talk.bedrock.requests[-1].body["messages"][-1]["role"] == "assistant"
        assert talk.guardrail.judged[-2:] == [["How was my week?"]] * 2
        talk.bedrock.answers.extend([THROTTLED, THROTTLED])
        await talk.completes("And what now?")
        assert talk.guardrail.judged[-1] == ["And what now?"]

    @BOTH_WAYS
    @pytest.mark.parametrize("sentence", [BLOCKED_INPUT, ""], ids=["with a sentence", "without a word"])
    async def test_a_message_that_was_blocked_enters_no_prompt_again(
        self, talk: Talk, model_type: ModelType, sentence: str
    ) -> None:
        """Nor does its reply; the conversation continues as if neither had been written."""
        talk.model_type = model_type
        talk.guardrail.blocked_input = sentence
        await talk.completes("How was my week?")
        failed = await talk.fails("Is this forbidden?", ErrorCode.CONTENT_FILTERED)
        assert not failed.retryable
        assert (failed.partial_reply is None) == (sentence == "")
        for text in ("And what now?", "And then?"):
            await talk.completes(text)
            assert "forbidden" not in talk.last_prompt
            assert BLOCKED_INPUT not in talk.last_prompt
            assert "How was my week?" in talk.last_prompt

    @pytest.mark.parametrize("sentence", [BLOCKED_INPUT, ""], ids=["with a sentence", "without a word"])
    async def test_a_retried_blocked_message_is_refused_without_calling_the_model(
        self, talk: Talk, sentence: str
    ) -> None:
        """Every retry gets the same error."""
        talk.guardrail.blocked_input = sentence
        first = await talk.fails("Is this forbidden?", ErrorCode.CONTENT_FILTERED, client_message_id="c-1")
        asked = len(talk.bedrock.requests)
        for _ in range(2):
            again = await talk.fails(
                "Is this forbidden?", ErrorCode.CONTENT_FILTERED, client_message_id="c-1"
            )
            assert again.partial_reply == first.partial_reply
        assert len(talk.bedrock.requests) == asked

    async def test_a_reply_cut_off_by_a_guardrail_is_marked_and_in_no_later_prompt(self, talk: Talk) -> None:
        """The beginning of the reply was sent before the rest was blocked."""
        talk.bedrock.answers.append(reply("Well, ", "these are ", "forbidden ", "things."))
        events = await talk.say("Tell me more.")
        said = "".join(event.content for event in events if isinstance(event, Chunk))
        assert said == f"Well, these are {BLOCKED_OUTPUT}"
        failed = events[-1]
        assert isinstance(failed, Failed)
        assert failed.partial_reply is not None
        assert failed.partial_reply.content == said
        assert failed.partial_reply.metadata.stop_reason is StopReason.CONTENT_FILTERED
        await talk.completes("And what now?")
        assert "Well" not in talk.last_prompt
        assert "Tell me more." not in talk.last_prompt

    async def test_a_blocked_retry_replaces_the_interrupted_reply(self, talk: Talk) -> None:
        """The text of the interrupted reply must be in no later prompt."""
        message = user_message(1, "Is this forbidden?", client_id="c-1")
        await store_reply(
            talk.store, message, reply_to(message, 2, "Well, forb", stop=StopReason.INTERRUPTED)
        )
        await talk.fails("Is this forbidden?", ErrorCode.CONTENT_FILTERED, client_message_id="c-1")
        await talk.completes("And what now?")
        assert "forb" not in talk.last_prompt

    async def test_a_conversation_that_was_stuck_works_again(self, talk: Talk) -> None:
        """In old data only the replies to later messages show that the first message was blocked."""
        bad = user_message(1, "Is this forbidden?")
        await begin(talk.store, bad)
        await talk.store.finish_run(KEY, RUN, ended(1), None)
        for number in (3, 5, 7):
            message = user_message(number, f"Innocent {number}")
            await store_reply(
                talk.store,
                message,
                reply_to(message, number + 1, BLOCKED_INPUT, stop=StopReason.CONTENT_FILTERED),
            )
        await talk.completes("How was my week?")
        for text in ("forbidden", BLOCKED_INPUT):
            assert text not in talk.last_prompt

    async def test_a_conversation_that_was_stuck_without_replies_works_again(self, talk: Talk) -> None:
        """In old data the blocked messages may have no reply at all."""
        for number, text in enumerate(("Is this forbidden?", "Innocent", "Hello?"), 1):
            run = f"{RUN[:-1]}{number}"
            await begin(talk.store, user_message(number, text), run)
            await talk.store.finish_run(KEY, run, ended(1), None)
        await talk.completes("How was my week?")
        assert talk.guardrail.judged[-1] == ["How was my week?"]

    @pytest.mark.parametrize("fails_before", [False, True], ids=["at once", "after another failure"])
    async def test_a_memory_of_a_blocked_message_is_not_kept(self, talk: Talk, fails_before: bool) -> None:
        """Its confirmation is retracted, and no later prompt contains it."""
        text = "/save-memory I like forbidden things"
        if fails_before:
            talk.bedrock.answers.extend([THROTTLED] * 4)
            await talk.fails(text, ErrorCode.MODEL_THROTTLED, client_message_id="c-1")
        events = await talk.say(text, client_message_id="c-1")
        at = next(number for number, event in enumerate(events) if isinstance(event, Reset))
        said = "".join(event.content for event in events[at:] if isinstance(event, Chunk))
        failed = events[-1]
        assert isinstance(failed, Failed)
        assert failed.partial_reply is not None
        assert failed.partial_reply.content == said == BLOCKED_INPUT
        run = failed.partial_reply.metadata.run_id
        assert run is not None
        assert await talk.text_of_run(run) == said
        assert list(await talk.store.load_memories(KEY.user_id, KEY.coach_id, limit=5)) == []
        assert talk.recall.remembered == []
        await talk.completes("How was my week?")
        assert "forbidden" not in talk.last_prompt

    async def test_a_memory_of_a_message_that_is_not_blocked_is_kept(self, talk: Talk) -> None:
        """Semantic search finds it exactly once."""
        completed = await talk.completes("/save-memory I like burpees")
        assert completed.reply.content.startswith('\u2705 I will remember this: "I like burpees"')
        [memory] = await talk.store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert memory.content == "I like burpees"
        assert [each.id for each in talk.recall.remembered] == [memory.id]

    async def test_a_workout_of_a_blocked_message_is_not_handed_off(self, talk: Talk) -> None:
        """The function would create a record of it, which would be in later prompts."""
        await talk.fails("/log-workout 5x5 forbidden squats", ErrorCode.CONTENT_FILTERED)
        assert talk.workouts.taken == []
        await talk.completes("/log-workout 5x5 squats")
        assert [workout.text for workout in talk.workouts.taken] == ["5x5 squats"]

    @BOTH_WAYS
    @pytest.mark.parametrize("only_detects", [True, False], ids=["detecting", "blocking"])
    async def test_in_the_mode_warn_a_flagged_message_has_a_reply_and_a_warning(
        self, talk: Talk, model_type: ModelType, only_detects: bool
    ) -> None:
        """Every reader gets the warning right before the end; a retry gets the same without the model."""
        talk.model_type, talk.options, talk.guardrail.only_detects = model_type, WARNING, only_detects
        events = await talk.say("Is this forbidden?", client_message_id="c-1")
        warning, completed = events[-2:]
        assert events.count(GuardrailWarning()) == 1
        assert warning == GuardrailWarning()
        assert isinstance(completed, Completed)
        said = "".join(event.content for event in events if isinstance(event, Chunk))
        assert completed.reply.content == said
        assert (said == BLOCKED_INPUT) == (not only_detects)
        assert completed.stop_reason is StopReason.GUARDRAIL_WARNING
        assert (await talk.store.load_messages(KEY))[-1] == completed.reply
        assert completed.reply.is_flagged
        asked = len(talk.bedrock.requests)
        run_id = completed.reply.metadata.run_id
        assert run_id is not None
        again = await talk.say("Is this forbidden?", client_message_id="c-1")
        for repeated in (again, await talk.events_of_run(run_id)):
            assert repeated[-2] == warning
            assert isinstance(repeated[-1], Completed)
            assert repeated[-1].reply == completed.reply
        assert len(talk.bedrock.requests) == asked

    @pytest.mark.parametrize("only_detects", [True, False], ids=["detecting", "blocking"])
    async def test_in_the_mode_warn_the_text_of_a_flagged_reply_is_kept(
        self, talk: Talk, only_detects: bool
    ) -> None:
        """A guardrail that detects takes none of it; one that blocks ends it with its own sentence."""
        talk.options, talk.guardrail.only_detects = WARNING, only_detects
        talk.bedrock.answers.append(reply("Well, ", "these are ", "forbidden ", "things."))
        completed = await talk.completes("Tell me more.")
        rest = "forbidden things." if only_detects else BLOCKED_OUTPUT
        assert completed.reply.content == f"Well, these are {rest}"
        assert completed.reply.is_flagged

    async def test_in_the_mode_warn_what_was_flagged_enters_no_prompt_again(self, talk: Talk) -> None:
        """Neither the message nor the reply, as in the mode `block`; all else does."""
        talk.options, talk.guardrail.only_detects = WARNING, True
        await talk.completes("How was my week?")
        await talk.completes("Is this forbidden?")
        await talk.completes("And what now?")
        assert "forbidden" not in talk.last_prompt
        assert "How was my week?" in talk.last_prompt

    async def test_in_the_mode_warn_what_a_flagged_message_asks_for_is_done(self, talk: Talk) -> None:
        """It is a turn like any other: the memory stays, the workout is handed off."""
        talk.options, talk.guardrail.only_detects = WARNING, True
        await talk.completes("/save-memory I like forbidden things")
        [memory] = await talk.store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
        assert memory.content == "I like forbidden things"
        await talk.completes("/log-workout 5x5 forbidden squats")
        assert [workout.text for workout in talk.workouts.taken] == ["5x5 forbidden squats"]

    @BOTH_WAYS
    async def test_in_the_mode_warn_a_turn_that_is_not_flagged_has_no_warning(
        self, talk: Talk, model_type: ModelType
    ) -> None:
        """The trace, which reports what was checked, is there in any case."""
        talk.model_type, talk.options = model_type, WARNING
        events = await talk.say("How was my week?")
        assert GuardrailWarning() not in events
        assert isinstance(events[-1], Completed)
        assert events[-1].stop_reason is StopReason.END_TURN

    @BOTH_WAYS
    async def test_a_history_that_is_too_long_for_the_model_blocks_no_message(
        self, talk: Talk, model_type: ModelType
    ) -> None:
        """The model is called again with less history, so that later turns do not fail too."""
        talk.model_type = model_type
        for number in (1, 3, 5):
            message = user_message(number, f"Question {number} " + "x" * 3_000)
            await store_reply(talk.store, message, reply_to(message, number + 1, "y" * 3_000))
        talk.bedrock.longest_prompt_chars = 8_000
        for text in ("How was my week?", "And what now?"):
            await talk.completes(text)
            assert text in talk.last_prompt
        assert "How was my week?" in talk.last_prompt

    async def test_a_history_that_the_model_refuses_blocks_no_message(self, talk: Talk) -> None:
        """Whatever the model objects to, the new message alone gets a reply."""
        await talk.completes("How was my week?")
        refusal = Refusal(400, "ValidationException")
        talk.bedrock.answers.append(refusal)
        await talk.completes("And what now?")
        assert "How was my week?" not in talk.last_prompt
        talk.bedrock.always = refusal
        await talk.fails("And then?", ErrorCode.MODEL_REJECTED)

    @BOTH_WAYS
    async def test_a_reply_that_is_longer_than_a_store_can_hold_blocks_no_message(
        self, talk: Talk, model_type: ModelType
    ) -> None:
        """It is cut off as at the model's own limit, and stored; otherwise its run could never end."""
        talk.model_type = model_type
        talk.bedrock.answers.append(reply(*["あ" * 1_000] * 140))
        completed = await talk.completes("Tell me everything.")
        assert completed.stop_reason is StopReason.MAX_TOKENS
        assert set(completed.reply.content) == {"あ"}
        [_, stored] = await talk.store.load_messages(KEY)
        assert stored == completed.reply
        await talk.completes("And what now?")
