"""Titles and summaries by rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.model import Role
from coachstream.conversation.prompt.prompt import PromptMessage
from coachstream.conversation.prompt.user import ConversationSummary
from coachstream.conversation.title import title_from
from coachstream.language.demo.summarizer import RuleSummarizer

NOTHING = ConversationSummary()
MESSAGES = st.lists(st.builds(PromptMessage, st.sampled_from(Role), st.text(min_size=1)), max_size=8)


def said(*texts: str) -> list[PromptMessage]:
    """The user's messages, each with a reply."""
    return [each for text in texts for each in (PromptMessage(Role.USER, text), REPLY)]


REPLY = PromptMessage(Role.ASSISTANT, "Well done.")


@pytest.mark.parametrize(
    ("texts", "title"),
    [
        (("I just did 5x5 squats at 100 kg",), "5x5 squats at 100 kg"),
        (("Please remember that I am allergic to peanuts.",), "Allergic to peanuts"),
        (("My knee hurts when I squat. What should I do about it tomorrow?",), "Knee hurts when I squat"),
        (("/log-workout 10 km run in 55 minutes",), "10 km run in 55 minutes"),
        (("Why do my knees hurt when I squat?",), "Why do my knees hurt"),
        (("Hi!", "What did I do this week?"), "What did I do this week"),
        (("Mein Knie schmerzt beim Beugen",), "Knie schmerzt beim Beugen"),
        (("Hello",), ""),
        (("Squats",), ""),
        ((), ""),
    ],
)
async def test_a_title_is_what_the_first_message_is_about(texts: tuple[str, ...], title: str) -> None:
    """Without the words before it that say little; a greeting has none."""
    assert await RuleSummarizer().suggest_title(said(*texts)) == title


@given(MESSAGES)
async def test_a_title_fits_or_is_empty(messages: list[PromptMessage]) -> None:
    """Whatever is said."""
    title = await RuleSummarizer().suggest_title(messages)
    assert title == "" or title_from(title) == title


@given(MESSAGES)
async def test_there_is_a_summary_of_everything(messages: list[PromptMessage]) -> None:
    """It never fails."""
    assert (await RuleSummarizer().summarize(messages, NOTHING)).narrative


async def test_a_summary_quotes_the_user_and_keeps_what_was_known() -> None:
    """Workouts are progress, upheavals are context."""
    earlier = ConversationSummary("Before.", recent_progress=("I ran 5 km",))
    talk = said("I just did 5x5 squats", "I tore my ACL, I am devastated.")
    content = await RuleSummarizer().summarize(talk, earlier)
    assert "“I just did 5x5 squats”" in content.narrative
    assert "Well done" not in content.narrative
    assert content.recent_progress == ("I ran 5 km", "I just did 5x5 squats")
    assert content.important_context == ("I tore my ACL, I am devastated.",)
