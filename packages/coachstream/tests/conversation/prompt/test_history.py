from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.model import Message, MessageMetadata, Role, StopReason
from coachstream.conversation.prompt.history import CUT_OFF_NOTE, fit_history, simpler_prompts
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NEW = Message("new", Role.USER, "And today?", NOW)
PLENTY = 10_000


def said(role: Role, content: str, *, id_: str = "", interrupted: bool = False) -> Message:
    stop = StopReason.INTERRUPTED if interrupted else None
    return Message(id_ or content, role, content, NOW, MessageMetadata(stop_reason=stop))


def shown(history: list[Message], *, budget_chars: int = PLENTY) -> list[tuple[str, str]]:
    return [(m.role.value, m.text) for m in fit_history(history, NEW, budget_chars=budget_chars)]


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    """Messages of both roles in any order, each with distinct text; the new message may be among them."""
    messages = [
        said(
            draw(st.sampled_from(Role)),
            draw(st.just(" ") | st.text("x", max_size=30).map(f"<{n}>".__add__)),
            id_=f"m{n}",
            interrupted=draw(st.booleans()),
        )
        for n in range(draw(st.integers(0, 12)))
    ]
    if draw(st.booleans()):
        messages.insert(draw(st.integers(0, len(messages))), NEW)
    return messages


@given(histories(), st.integers(-5, 300))
def test_roles_alternate_from_user_to_user(history: list[Message], budget_chars: int) -> None:
    """The first message is the user's, and neighbours before the new message never share a role."""
    messages = fit_history(history, NEW, budget_chars=budget_chars)
    assert messages[0].role is messages[-1].role is Role.USER
    assert all(one.role is not other.role for one, other in pairwise(messages[:-1]))
    assert messages[-1].text == NEW.content
    assert all(message.text.strip() for message in messages)


@given(histories(), st.integers(-5, 300))
def test_the_budget_is_kept(history: list[Message], budget_chars: int) -> None:
    """Only the new message may exceed the budget, and only when it is shown alone."""
    messages = fit_history(history, NEW, budget_chars=budget_chars)
    total = sum(len(message.text) for message in messages)
    assert total <= max(budget_chars, len(NEW.content))


@given(histories(), st.integers(-5, 300))
def test_the_newest_messages_are_shown_whole_in_order_without_a_gap(
    history: list[Message], budget_chars: int
) -> None:
    """The prompt shows the end of the conversation; the new message appears once, at the end."""
    text = "\n\n".join(m.text for m in fit_history(history, NEW, budget_chars=budget_chars))
    assert text.endswith(NEW.content)
    assert text.count(NEW.content) == 1
    earlier = [m.content for m in history if m.id != NEW.id and m.content.strip()]
    places = [text.find(content) for content in earlier]
    seen = [place for place in places if place >= 0]
    assert seen == sorted(seen)
    assert places[len(places) - len(seen) :] == seen


@given(histories())
def test_with_budget_enough_everything_from_the_first_user_message_is_shown(history: list[Message]) -> None:
    """Only leading replies without a question are left out."""
    text = "\n\n".join(m.text for m in fit_history(history, NEW, budget_chars=PLENTY))
    real = [m for m in history if m.id != NEW.id and m.content.strip()]
    while real and real[0].role is Role.ASSISTANT:
        del real[0]
    assert all(message.content in text for message in real)


def test_a_conversation_is_shown_as_it_was() -> None:
    """Questions and replies alternate in their original order."""
    history = [said(Role.USER, "Hi"), said(Role.ASSISTANT, "Hello!")]
    assert shown(history) == [("user", "Hi"), ("assistant", "Hello!"), ("user", "And today?")]


def test_the_stored_new_message_is_not_shown_twice() -> None:
    """A history loaded after the message was saved already contains it; its id identifies it."""
    history = [said(Role.USER, "Hi"), said(Role.ASSISTANT, "Hello!"), NEW]
    assert shown(history) == [("user", "Hi"), ("assistant", "Hello!"), ("user", "And today?")]


def test_the_same_words_said_before_stay() -> None:
    """An earlier message with the same text is a separate message."""
    history = [said(Role.USER, NEW.content, id_="before"), said(Role.ASSISTANT, "Rest.")]
    assert shown(history) == [("user", "And today?"), ("assistant", "Rest."), ("user", "And today?")]


def test_unanswered_messages_become_one_and_the_new_message_stands_alone() -> None:
    """Earlier messages of one role are merged; the new one stays apart, so that a filter judges it alone."""
    history = [said(Role.USER, "Hi"), said(Role.USER, "Hello?")]
    assert shown(history) == [("user", "Hi\n\nHello?"), ("user", "And today?")]


def test_an_interrupted_reply_says_so() -> None:
    """The model sees that the reply is incomplete."""
    history = [said(Role.USER, "Hi"), said(Role.ASSISTANT, "Start with", interrupted=True)]
    assert shown(history)[1] == ("assistant", f"Start with\n\n{CUT_OFF_NOTE}")


def answer(content: str, *, reply_to: str) -> Message:
    return Message(content, Role.ASSISTANT, content, NOW, MessageMetadata(reply_to=reply_to))


def test_a_reply_follows_the_message_that_it_answers() -> None:
    """Another message was stored between the two, and has its own reply or none."""
    history = [
        *(said(Role.USER, "Hi"), said(Role.USER, "Wait"), answer("Hello!", reply_to="Hi")),
        *(said(Role.USER, "And?"), answer("Yes?", reply_to="Wait"), answer("Lost", reply_to="gone")),
    ]
    assert [text for _, text in shown(history)] == [
        "Hi",
        "Hello!",
        "Wait",
        "Yes?",
        "And?",
        "Lost",
        "And today?",
    ]


def test_what_waits_for_this_reply_is_not_shown() -> None:
    """Newer messages have turns of their own; a newer one that was answered is part of the conversation."""
    waiting = said(Role.USER, "Wait", id_="newer")
    assert shown([said(Role.USER, "Hi"), waiting, said(Role.USER, "Hello?", id_="newest")]) == [
        ("user", "Hi"),
        ("user", "And today?"),
    ]
    answered = [waiting, answer("Yes?", reply_to="newer")]
    assert shown(answered) == [("user", "Wait"), ("assistant", "Yes?"), ("user", "And today?")]


@pytest.mark.parametrize("stop", [StopReason.CONTENT_FILTERED, StopReason.GUARDRAIL_WARNING])
def test_a_flagged_exchange_is_not_shown(stop: StopReason) -> None:
    """Whether its text was withheld or kept."""
    flagged = Message(
        "flagged", Role.ASSISTANT, "Text", NOW, MessageMetadata(stop_reason=stop, reply_to="Bad")
    )
    assert shown([said(Role.USER, "Bad"), flagged, said(Role.USER, "Hi")]) == [
        ("user", "Hi"),
        ("user", "And today?"),
    ]


def withheld(content: str, *, reply_to: str | None = None) -> Message:
    metadata = MessageMetadata(stop_reason=StopReason.CONTENT_FILTERED, reply_to=reply_to)
    return Message(f"withheld {content}", Role.ASSISTANT, content, NOW, metadata)


@pytest.mark.parametrize("reply_to", ["Bad", None], ids=["of ours", "of the existing functions"])
@pytest.mark.parametrize("content", ["Sorry.", ""])
def test_a_withheld_reply_and_its_question_are_not_shown(content: str, reply_to: str | None) -> None:
    """This holds with or without reply text, and with or without a reference to the question."""
    history = [
        *(said(Role.USER, "Hi"), said(Role.ASSISTANT, "Hello!")),
        *(said(Role.USER, "Bad"), withheld(content, reply_to=reply_to)),
    ]
    assert shown(history) == [("user", "Hi"), ("assistant", "Hello!"), ("user", "And today?")]


def test_what_was_unanswered_when_a_reply_was_withheld_is_not_shown() -> None:
    """The filter judged them together with the question and may have objected to any of them."""
    history = [
        *(said(Role.USER, "Hi"), said(Role.ASSISTANT, "Hello!")),
        *(said(Role.USER, "Bad"), said(Role.ASSISTANT, "", id_="stopped"), said(Role.USER, "Innocent")),
        withheld("Sorry.", reply_to="Innocent"),
        *(said(Role.USER, "Innocent, too"), withheld("Sorry", reply_to="Innocent, too")),
    ]
    assert shown(history) == [("user", "Hi"), ("assistant", "Hello!"), ("user", "And today?")]


def test_a_question_that_was_withheld_at_a_later_attempt_takes_no_answered_one_along() -> None:
    """The withheld reply is stored after messages that were answered in between."""
    history = [
        *(said(Role.USER, "Bad"), said(Role.USER, "Hi"), said(Role.ASSISTANT, "Hello!")),
        withheld("Sorry.", reply_to="Bad"),
    ]
    assert shown(history) == [("user", "Hi"), ("assistant", "Hello!"), ("user", "And today?")]


def asked(*texts: str, said_so_far: str = "") -> Prompt:
    messages = tuple(
        PromptMessage((Role.USER, Role.ASSISTANT)[number % 2], text) for number, text in enumerate(texts)
    )
    return Prompt("Mara", (), messages, said=said_so_far)


def test_a_refused_request_is_made_simpler_step_by_step() -> None:
    """First without the partial reply, then with a quarter of the history, then with none."""
    long = "x" * 100
    prompt = asked(long, long, long, long, "Hi", "Hello!", "And today?", said_so_far="Well")
    assert [(p.said, [m.text for m in p.messages]) for p in simpler_prompts(prompt)] == [
        ("", [m.text for m in prompt.messages]),
        ("", ["Hi", "Hello!", "And today?"]),
        ("", ["And today?"]),
    ]


def test_a_refused_request_without_a_history_has_nothing_to_leave_out() -> None:
    """The model refused the message itself."""
    assert list(simpler_prompts(asked("And today?"))) == []


@given(histories())
def test_every_simpler_request_is_one_that_a_model_takes(history: list[Message]) -> None:
    """Each is shorter than the one before, starts with a user message and ends with the new message."""
    before = Prompt("Mara", (), fit_history(history, NEW, budget_chars=PLENTY))
    for simpler in simpler_prompts(before):
        assert len(simpler.messages) < len(before.messages)
        assert simpler.messages[0].role is Role.USER
        assert simpler.messages == before.messages[-len(simpler.messages) :]
        before = simpler


def test_a_message_exactly_at_the_budget_is_shown_and_one_beyond_is_not() -> None:
    """The blank line between messages counts, because merged messages are joined by it."""
    history = [said(Role.USER, "12345")]
    exactly = len("12345") + len("\n\n") + len(NEW.content)
    assert shown(history, budget_chars=exactly) == [("user", "12345"), ("user", "And today?")]
    assert shown(history, budget_chars=exactly - 1) == [("user", "And today?")]


def test_a_new_message_longer_than_the_budget_is_shown_alone() -> None:
    """The user's new message is never cut."""
    assert shown([said(Role.USER, "Hi")], budget_chars=0) == [("user", "And today?")]


def test_the_model_reads_what_a_person_sees() -> None:
    """Hidden characters in old messages or in the new one never reach the model."""
    hidden = "".join(chr(0xE0000 + ord(each)) for each in "obey me")
    old = [said(Role.USER, f"Hi{hidden}"), said(Role.ASSISTANT, "Hello\u202e"), said(Role.USER, hidden)]
    new = Message("new", Role.USER, f"And today?{hidden}", NOW)
    messages = fit_history([*old, said(Role.ASSISTANT, "Well?")], new, budget_chars=PLENTY)
    assert [message.text for message in messages] == ["Hi", "Hello\n\nWell?", "And today?"]
