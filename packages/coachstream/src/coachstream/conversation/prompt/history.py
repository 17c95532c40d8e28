"""What of a conversation the model is shown: whole messages, the newest first, as far as the budget goes.

No message is cut. A half of a message is an argument without its end, and a model answers it as if it were
whole; better one message fewer. So the choice ends at the first message that does not fit, and has no gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import msgspec

from coachstream.conversation.model import Message, Role
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage
from coachstream.conversation.visible_text import is_blank, visible

CUT_OFF_NOTE = "[This reply was cut off.]"

PARAGRAPH = "\n\n"


def fit_history(
    history: Sequence[Message], user_message: Message, *, budget_chars: int
) -> tuple[PromptMessage, ...]:
    """Choose the messages that the model sees.

    The first message is the user's, and roles alternate: neighbours of one role become one message, with a
    blank line between them, and blank messages are left out, as models refuse both. The new message is there
    whatever its length, once, and last; it stands alone, even after a user message that has no reply, for a
    content filter judges it alone. An interrupted reply says that it is one. A reply that a content filter
    withheld is left out with what it was to answer, or the filter would object in every later turn. The model
    reads what a person sees: text that was pasted from elsewhere may hold more.

    Args:
        history: earlier messages, oldest first; may already hold the new one, by its id.
        user_message: the new one.
        budget_chars: of everything that is returned together; the new message alone may exceed it.
    """
    new = visible(user_message.content)
    texts: list[tuple[Role, str]] = []
    left = budget_chars - len(new)
    left_out = {user_message.id, *_withheld(history)}
    for message in reversed(history):
        if message.id in left_out or is_blank(message.content):
            continue
        text = visible(message.content)
        if message.is_interrupted:
            text = f"{text}{PARAGRAPH}{CUT_OFF_NOTE}"
        left -= len(text) + len(PARAGRAPH)
        if left < 0:
            break
        texts.append((message.role, text))
    while texts and texts[-1][0] is not Role.USER:
        texts.pop()
    return (*_alternating(reversed(texts)), PromptMessage(Role.USER, new))


def simpler_prompts(prompt: Prompt) -> Iterator[Prompt]:
    """What else to ask, one after the other, where a model's service refuses the request.

    What it refuses may be in the history, or the history may be longer than the model can take. Then every
    later request of the conversation would be refused as well; better a reply that knows less of it. First
    without the beginning of the reply, which not every model continues; then with the last quarter of the
    history, and then with the new message alone.
    """
    if prompt.said:
        prompt = msgspec.structs.replace(prompt, said="")
        yield prompt
    *history, new = prompt.messages
    if history:
        newest = tuple(_newest_of(history, sum(len(message.text) for message in history) // 4))
        if newest:
            yield msgspec.structs.replace(prompt, messages=(*newest, new))
        yield msgspec.structs.replace(prompt, messages=(new,))


def _newest_of(history: Sequence[PromptMessage], budget_chars: int) -> Sequence[PromptMessage]:
    """The newest messages that fit, from one of the user's on."""
    first = len(history)
    while first > 0 and budget_chars >= len(history[first - 1].text):
        first -= 1
        budget_chars -= len(history[first].text)
    while first < len(history) and history[first].role is not Role.USER:
        first += 1
    return history[first:]


def _withheld(history: Sequence[Message]) -> Iterable[str]:
    """Replies that a content filter withheld, and what they were to answer.

    That is more than one message where the ones before the question had no reply: the model was given them
    together, and which of them the filter objected to is not known.
    """
    position = {message.id: number for number, message in enumerate(history)}
    for number, message in enumerate(history):
        if message.is_withheld:
            yield message.id
            question = position.get(message.metadata.reply_to or "", number - 1)
            yield from _unanswered_until(history[: question + 1])


def _unanswered_until(history: Sequence[Message]) -> Iterable[str]:
    for message in reversed(history):
        if message.role is Role.USER:
            yield message.id
        elif not message.is_withheld and not is_blank(message.content):
            return


def _alternating(texts: Iterable[tuple[Role, str]]) -> Iterable[PromptMessage]:
    for role, neighbours in groupby(texts, key=lambda entry: entry[0]):
        yield PromptMessage(role, PARAGRAPH.join(text for _, text in neighbours))
