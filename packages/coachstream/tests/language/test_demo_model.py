"""The demo model: its replies, their deltas, and its pace."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coachstream.conversation.errors import ModelError
from coachstream.conversation.model import Importance, Match, Memory, Role, Workout
from coachstream.conversation.ports import ChatModel, ModelStop, TextDelta
from coachstream.conversation.prompt.assembly import build_prompt
from coachstream.conversation.prompt.coach import parse_coach_config
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage
from coachstream.language.demo import DemoModel, Fault
from coachstream.language.demo.deltas import split_into_deltas
from coachstream.language.demo.intent import Intent, intent_of
from coachstream.language.demo.notes import read_notes
from coachstream.language.demo.voice import CALM, LIVELY, STRICT, Voice, voice_of
from contracts.chat_model import PROMPT, ChatModelContract, events_of

NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)  # a Monday


class TestDemoModel(ChatModelContract):
    @pytest.fixture
    def model(self) -> ChatModel:
        return DemoModel(delay_s=0)

    @pytest.fixture
    def broken_model(self) -> Callable[[int, ModelError | None], ChatModel]:
        return lambda after, error: DemoModel(delay_s=0, fault=Fault(after, error))


def prompt(
    question: str = "How deep should I squat with a sore knee?",
    *,
    personality: str = "You are calm, exact and kind.",
    earlier: tuple[str, ...] = (),
    workouts: tuple[Workout, ...] = (),
    matches: tuple[Match, ...] = (),
) -> Prompt:
    """A complete prompt, as a turn builds it."""
    coach = parse_coach_config(
        "coach-1", {"coach_name": "Mara Lindqvist", "generated_prompts": {"personality_prompt": personality}}
    )
    messages = [
        PromptMessage(role, text)
        for said in earlier
        for role, text in ((Role.USER, said), (Role.ASSISTANT, "Hm."))
    ]
    created = datetime(2026, 1, 1, tzinfo=UTC)
    return build_prompt(
        coach=coach,
        now=NOW,
        messages=(*messages, PromptMessage(Role.USER, question)),
        memories=(
            Memory("m1", "Prefers to train before work.", "preference", Importance.HIGH, created),
            Memory("m2", "Wants to squat 140 kg.", "goal", Importance.LOW, created),
        ),
        workouts=workouts
        or (Workout("w1", datetime(2026, 11, 22, tzinfo=UTC), "Back squat 5x5 at 107.5 kg."),),
        matches=matches
        or (
            Match(
                "x",
                "Squat to a box. Slow down. A third sentence.",
                2.0,
                "methodology",
                "methodology",
                "Knees",
            ),
        ),
    )


async def answer_to(asked: Prompt) -> str:
    events = await events_of(DemoModel(delay_s=0), asked)
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_the_reply_uses_the_contents_of_the_prompt() -> None:
    """It contains the coach, the question, a relevant memory, the last workout and the best passage."""
    answer = await answer_to(prompt())
    assert "Mara Lindqvist" in answer
    assert "How deep should I squat with a sore knee?" in answer
    assert "Wants to squat 140 kg." in answer
    assert "Back squat 5x5 at 107.5 kg." in answer
    assert "Knees" in answer
    assert "Squat to a box. Slow down." in answer
    assert "third sentence" not in answer
    assert len(answer.split("\n\n")) >= 5


async def test_the_answer_says_that_a_demo_model_wrote_it() -> None:
    """Every reply says so once, in every voice."""
    for question in ("hi", "thanks", "I slept badly.", "What should I do tomorrow?"):
        for personality in ("loud and funny", "direct, strict and technical", ""):
            answer = await answer_to(prompt(question, personality=personality))
            assert answer.count("demo model") == 1


async def test_a_decimal_point_ends_no_sentence() -> None:
    """A passage is cut after two sentences, not within `107.5 kg`."""
    passage = Match("x", "Squat 107.5 kg. Then 60.5 kg. A third.", 2.0, "methodology", "methodology", "Loads")
    answer = await answer_to(prompt("Why do squats feel hard?", matches=(passage,)))
    assert "Squat 107.5 kg. Then 60.5 kg." in answer
    assert "A third." not in answer


async def test_a_lift_that_was_not_clean_is_not_made_heavier() -> None:
    """The next step depends on the last session with that lift, even if others followed."""
    benched = Workout("w2", datetime(2026, 11, 21, tzinfo=UTC), "Bench press 3x5 at 70 kg, last set slow.")
    answer = await answer_to(prompt("How heavy should I bench?", workouts=(benched,)))
    assert "Stay at 70 kg until all sets are clean." in answer


async def test_the_same_prompt_gives_the_same_answer() -> None:
    """A different question gives a different reply."""
    assert await answer_to(prompt()) == await answer_to(prompt())
    assert await answer_to(prompt("Again?")) != await answer_to(prompt())


async def test_the_reply_uses_the_time_and_earlier_messages() -> None:
    """The greeting fits the hour, and an earlier message is mentioned."""
    assert "morning" in await answer_to(prompt("Hello!"))
    earlier = ("I slept badly before the training", "Nice weather")
    answer = await answer_to(prompt("Shall I train?", earlier=earlier))
    assert "I slept badly before the training" in answer
    assert "Nice weather" not in answer


async def test_nothing_that_the_prompt_lacks_is_invented() -> None:
    """Without records the reply is short, but still a reply."""
    bare = await answer_to(PROMPT)
    assert "warm up" in bare
    assert "Mara" in bare
    nothing = await answer_to(Prompt(coach_name="", sections=(), messages=()))
    assert "demo model" in nothing


async def test_no_text_of_a_user_makes_it_fail() -> None:
    """Faults are configured only; no message can trigger one."""
    for text in ("/fail", "fault: after_deltas=0", "{quote} {0} {", "</data><data>", "raise ModelThrottled"):
        assert "demo model" in await answer_to(prompt(text))


@given(text=st.text(max_size=300))
def test_any_message_can_be_read(text: str) -> None:
    """Notes and intent exist for every text."""
    assert read_notes(prompt(text, earlier=(text,))).question == text
    assert intent_of(text) in Intent


@pytest.mark.parametrize(
    ("question", "intent"),
    [
        ("My knee hurts when I squat. What should I do?", Intent.PAIN),
        ("thanks!", Intent.THANKS),
        ("Who are you?", Intent.WHO),
        ("are you a real person", Intent.WHO),
        ("How was my week?", Intent.WEEK),
        ("What did I do last week?", Intent.WEEK),
        ("How is my training going?", Intent.WEEK),
        ("What did I do last time?", Intent.LAST),
        ("What was my last workout?", Intent.LAST),
        ("What should I squat today?", Intent.LOAD),
        ("How much should I bench?", Intent.LOAD),
        ("What should I eat?", Intent.FOOD),
        ("What is the plan for this week?", Intent.PLAN),
        ("Good morning", Intent.GREETING),
        ("What should I do tomorrow?", Intent.PLAN),
        ("I just rowed 2k in 7:40!", Intent.REPORT),
        ("Why do squats feel hard?", Intent.QUESTION),
        ("Squats are hard.", Intent.STATEMENT),
        ("", Intent.STATEMENT),
        ("I am painting the garage", Intent.STATEMENT),
    ],
)
def test_the_intent_of_a_message_is_read_from_its_words(question: str, intent: Intent) -> None:
    """The most urgent intent wins."""
    assert intent_of(question) is intent


@pytest.mark.parametrize(
    ("character", "voice"),
    [
        ("You are calm, exact and kind.", CALM),
        ("You are loud, warm and funny. Turn each session into a game.", LIVELY),
        ("Be direct and technical. Set a clear standard.", STRICT),
        ("", CALM),
    ],
)
def test_the_coach_sounds_as_described(character: str, voice: Voice) -> None:
    """The prompt's description selects the voice."""
    assert voice_of(character) is voice


@given(text=st.text())
@example(text="")
@example(text="  leading  \n\n blanks ")
@example(text="a e\u0301 👩‍👩‍👧 💪🏽 🏴\U000e0067\U000e0062\U000e007f \u0301x \ufe0f")
def test_deltas_are_the_text_and_cut_no_character(text: str) -> None:
    """Joined, they are the text; none is empty, and none splits a grapheme."""
    deltas = split_into_deltas(text)
    assert "".join(deltas) == text
    assert all(deltas)
    for before, after in pairwise(deltas):
        assert before[-1].isspace()
        assert not after[0].isspace()
        assert not unicodedata.category(after[0]).startswith("M")
        assert after[0] != "\u200d"


def test_deltas_are_words_with_their_blanks() -> None:
    """A word is one delta, whatever its characters."""
    assert split_into_deltas("Nice  work,\n\nSam 👩‍👩‍👧!") == ["Nice  ", "work,\n\n", "Sam ", "👩‍👩‍👧!"]


class Pauses:
    """A clock that does not run: it records how long it was asked to wait."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def wait(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def pauses_of(delay_s: float) -> list[float]:
    pauses = Pauses()
    deltas = await events_of(DemoModel(delay_s=delay_s, sleep=pauses.wait), prompt())
    assert len(pauses.seconds) == len(deltas) - 1
    return pauses.seconds


async def test_the_pace_is_a_real_models() -> None:
    """The first delta takes 0.4 s; the others average the delay and deviate by at most half of it."""
    first, *others = await pauses_of(0.03)
    assert first == pytest.approx(0.4)
    assert sum(others) / len(others) == pytest.approx(0.03, rel=0.1)
    assert all(0.015 <= pause <= 0.045 for pause in others)
    assert len(set(others)) > 10


async def test_a_longer_delay_does_not_delay_the_first_delta() -> None:
    """A slow-motion demonstration still starts promptly."""
    first, *others = await pauses_of(1.0)
    assert first == pytest.approx(0.4)
    assert max(others) > 1


async def test_a_shorter_delay_shortens_the_wait_for_the_first_delta() -> None:
    """Tests with a small delay need not wait for the first delta either."""
    first, *_ = await pauses_of(0.001)
    assert first == pytest.approx(0.014)


async def test_without_a_delay_it_is_as_fast_as_the_reader_and_lets_others_run() -> None:
    """Each delta yields to the event loop."""
    assert set(await pauses_of(0)) == {0}
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    events = await events_of(DemoModel(delay_s=0), prompt())
    counting.cancel()
    assert turns >= len(events) - 1


@pytest.mark.parametrize("delay_s", [-0.1, float("nan"), float("inf")])
def test_a_delay_is_a_number_of_seconds(delay_s: float) -> None:
    """Any other value is rejected when the model is created."""
    with pytest.raises(ValueError, match="number of seconds"):
        DemoModel(delay_s=delay_s)


async def test_a_reply_that_broke_off_is_continued() -> None:
    """The reply is the same although the prompt has more text, and so are its deltas."""
    whole = await answer_to(prompt())
    for at in range(0, len(whole) + 1, 7):
        rest = await answer_to(msgspec.structs.replace(prompt(), said=whole[:at]))
        assert whole[:at] + rest == whole


async def test_foreign_partial_text_is_continued_by_length() -> None:
    """After ten unrelated characters the reply continues at its eleventh; after a longer text it is empty."""
    whole = await answer_to(prompt())
    assert await answer_to(msgspec.structs.replace(prompt(), said="0123456789")) == whole[10:]
    [stop] = await events_of(DemoModel(delay_s=0), msgspec.structs.replace(prompt(), said="x" * 10_000))
    assert isinstance(stop, ModelStop)
