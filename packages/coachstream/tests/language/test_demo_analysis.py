"""The demo's rules: what they find, what they must never invent, and the set that measures them."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.analysis import MEMORY_TYPES, MOST_TAGS, quotation_from
from coachstream.language.demo.analysis import analysis_of, languages_of
from coachstream.language.demo.languages import LANGUAGES
from support.places import ROOT

LINES = (ROOT / "bench" / "analysis" / "messages.jsonl").read_text().splitlines()
MESSAGES = [msgspec.json.decode(line) for line in LINES]


@pytest.mark.parametrize(
    ("text", "remembered", "kind"),
    [
        ("Please remember that I am allergic to peanuts", "I am allergic to peanuts", "constraint"),
        ("Hi! Remember: my knee hurts when I run. What now?", "my knee hurts when I run", "constraint"),
        ("Merk dir bitte, dass ich Burpees hasse!", "ich Burpees hasse", "preference"),
        ("Souviens-toi que j\u2019aime courir.", "j\u2019aime courir", "preference"),
    ],
)
def test_what_to_remember_is_a_part_of_the_message(text: str, remembered: str, kind: str) -> None:
    """Word for word, without the request."""
    found = analysis_of(text)
    assert found.requests_memory
    assert quotation_from(text, found.memory_text) == remembered
    assert found.traits.memory_type == kind


@pytest.mark.parametrize(
    ("text", "is_complex"),
    [
        ("I am devastated, I tore my ACL", True),
        ("Ich bin verzweifelt", True),
        ("I did 5x5 squats", False),
        ("Is surgery an option?", False),
    ],
)
def test_an_upheaval_is_complex(text: str, is_complex: bool) -> None:
    """It calls for a summary."""
    assert analysis_of(text).is_complex is is_complex


def test_small_talk_needs_no_search() -> None:
    """Everything else may."""
    assert not analysis_of("Thanks!").needs_search
    assert analysis_of("How do I get stronger?").needs_search


@given(st.text() | st.sampled_from(MESSAGES).map(lambda message: message["text"]))
def test_the_rules_have_a_verdict_on_any_text(text: str) -> None:
    """Within bounds, and what is to be remembered is in the message."""
    found = analysis_of(text)
    assert {found.workout_confidence, found.memory_confidence} <= {0.0, 0.9}
    assert found.memory_text in text
    assert found.traits.memory_type in MEMORY_TYPES
    assert len(found.traits.tags) <= MOST_TAGS
    assert languages_of(text)


def test_the_evaluation_set_has_what_an_evaluation_needs() -> None:
    """Enough of everything, each message once, and as many that ask for nothing as that do."""
    texts = [message["text"] for message in MESSAGES]
    assert len(set(texts)) == len(texts) >= 120
    languages = Counter(message["language"] for message in MESSAGES)
    assert set(languages) == {language.code for language in LANGUAGES}
    assert min(languages.values()) >= 10
    kinds = {message["kind"] for message in MESSAGES}
    assert {"negation", "plan", "joke", "quotation", "question", "other person", "reminder"} <= kinds
    assert sum(message["workout"] for message in MESSAGES) >= 30
    assert sum(message["memory"] for message in MESSAGES) >= 30
    assert sum(not message["workout"] and not message["memory"] for message in MESSAGES) >= 60


def test_the_rules_invent_next_to_nothing_in_the_messages_that_they_were_made_with() -> None:
    """A regression of the rules shows here; `make evaluate` has the whole picture."""
    known = [message for message in MESSAGES if not message["heldOut"]]
    for label, is_found in (("workout", "reports_workout"), ("memory", "requests_memory")):
        found = [message[label] for message in known if getattr(analysis_of(message["text"]), is_found)]
        assert found.count(False) == 0
        assert found.count(True) >= 0.9 * sum(message[label] for message in known)
