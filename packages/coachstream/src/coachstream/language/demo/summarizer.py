"""`RuleSummarizer`: titles and summaries without a model, for the demo.

A title is the first sentence of the user that has enough words, without those that say little. A summary
quotes what the user wrote, sorted by the rules that analyse messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from coachstream.conversation.model import Role
from coachstream.conversation.prompt.prompt import PromptMessage
from coachstream.conversation.prompt.quoting import shortened
from coachstream.conversation.prompt.summary import (
    MOST_ENTRIES,
    MOST_NARRATIVE_CHARS,
    SummaryContent,
    parse_summary_content,
)
from coachstream.conversation.prompt.user import ConversationSummary
from coachstream.conversation.title import FEWEST_WORDS, MOST_CHARS, MOST_WORDS, title_from
from coachstream.language.demo.analysis import analysis_of, languages_of
from coachstream.language.demo.intent import Intent, intent_of

CONFIDENCE = 30
"""Of a summary, which reads nothing into the messages."""

MOST_READ_WORDS = 30
"""Of a sentence."""

_QUOTED_CHARS = 160
_QUOTED_MESSAGES = 8

_COMMAND = re.compile(r"^/[\w-]+\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"[^\s<>\[\]{}`*_#|\\~^]+")
_AROUND_WORDS = ".,;:!?…\"'()"


class RuleSummarizer:
    """A `Summarizer` without a model; never fails."""

    async def summarize(
        self, messages: Sequence[PromptMessage], earlier: ConversationSummary
    ) -> SummaryContent:
        """Summarize messages (see `Summarizer`)."""
        said = [_COMMAND.sub("", text) for text in _said(messages)]
        found = [(text, analysis_of(text)) for text in said]
        quotations = "; ".join(f"“{shortened(text, _QUOTED_CHARS)}”" for text in said[-_QUOTED_MESSAGES:])
        narrative = f"In {len(said)} messages, the user wrote: {quotations or 'nothing'}."
        goals = [text for text, verdict in found if verdict.traits.memory_type == "goal"]
        workouts = [text for text, verdict in found if verdict.reports_workout]
        context = [text for text, verdict in found if verdict.is_complex]
        return parse_summary_content(
            {
                "narrative": shortened(narrative, MOST_NARRATIVE_CHARS),
                "current_goals": _newest((*earlier.current_goals, *goals)),
                "recent_progress": _newest((*earlier.recent_progress, *workouts)),
                "important_context": _newest((*earlier.important_context, *context)),
                "confidence": CONFIDENCE,
            }
        ) or SummaryContent(narrative)

    async def suggest_title(self, messages: Sequence[PromptMessage]) -> str:
        """Suggest a title (see `Summarizer`)."""
        return next(filter(None, map(_title_of, _said(messages))), "")


def _said(messages: Iterable[PromptMessage]) -> Iterable[str]:
    return (message.text for message in messages if message.role is Role.USER)


def _newest(entries: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(reversed(entries)))[:MOST_ENTRIES][::-1]


def _title_of(text: str) -> str | None:
    text = _COMMAND.sub("", text)
    if intent_of(text) in {Intent.GREETING, Intent.THANKS}:
        return None
    little = languages_of(text)[0].words
    # The first sentence that makes a title, else as much of all of them as fits.
    suggestions = (each for part in (*_SENTENCE_END.split(text), text) for each in _titles(part, little))
    title = next(filter(None, map(title_from, suggestions)), None)
    return None if title is None else title[0].upper() + title[1:]


def _titles(text: str, little: frozenset[str]) -> Iterator[str]:
    """The words of a text, without those at its beginning that say little; then with them."""
    stripped = (each.strip(_AROUND_WORDS) for each in islice(_WORD.findall(text), MOST_READ_WORDS))
    words = [each for each in stripped if each]
    first = next((number for number, word in enumerate(words) if word.lower() not in little), 0)
    for start in (first, 0):
        yield _joined(words[start:], little)


def _joined(words: Sequence[str], little: frozenset[str]) -> str:
    kept = list(words[:MOST_WORDS])
    while kept and (len(" ".join(kept)) > MOST_CHARS or _ends_open(kept, len(words), little)):
        kept.pop()
    return " ".join(kept)


def _ends_open(kept: Sequence[str], words: int, little: frozenset[str]) -> bool:
    """Whether it was cut off after a word that needs another one."""
    return FEWEST_WORDS < len(kept) < words and kept[-1].lower() in little
