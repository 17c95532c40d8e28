"""Selects the messages the model sees: whole messages, newest first, until the budget is used up.

Messages are never truncated: a model would reply to half a message as if it were whole. The selection stops
at the first message that does not fit, so it has no gaps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby

import msgspec

from coachstream.conversation.model import Message, Role
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage
from coachstream.conversation.prompt.quoting import shortened
from coachstream.conversation.visible_text import is_blank, visible

CUT_OFF_NOTE = "[This reply was cut off.]"

PARAGRAPH = "\n\n"


def fit_history(
    history: Sequence[Message], user_message: Message, *, budget_chars: int
) -> tuple[PromptMessage, ...]:
    """Choose the messages that the model sees.

    A reply follows the message that it answers, even if another message was stored between the two. The
    first message is the user's, and roles alternate: adjacent messages of one role are joined with a
    blank line, and blank messages are dropped, because models reject both. The new message is always
    included, exactly once, as the last one; it is never joined to a preceding user message, because a content
    filter checks it by itself. An interrupted reply is marked as such. A reply that a content filter withheld
    or flagged is dropped together with the message it replied to; otherwise every later turn could be
    filtered, and what the filter found would steer the model. Messages that wait for the reply to this one
    are dropped, too, because each has a turn of its own. Invisible characters, as pasted text may contain,
    are removed.

    Args:
        history: earlier messages, oldest first; the new one may be among them, and is recognized by its id.
        user_message: the new message.
        budget_chars: limit for the total length; only the new message may exceed it.
    """
    history = tuple(_exchanges(history))
    new = visible(user_message.content)
    left_out = {user_message.id, *_filtered(history), *_waiting(history, user_message)}
    texts = list(_newest_texts(history, left_out, budget_chars - len(new)))
    while texts and texts[-1][0] is not Role.USER:
        texts.pop()
    return (*_alternating(reversed(texts)), PromptMessage(Role.USER, new))


def transcript(
    history: Sequence[Message], *, budget_chars: int, longest_chars: int
) -> tuple[PromptMessage, ...]:
    """Choose the messages of a conversation that a model may read to describe it, oldest first.

    As in `fit_history`, those that a content filter withheld or flagged are dropped, and a reply follows the
    message that it answers. A message of more than `longest_chars` is shortened: here, the beginning tells
    enough.
    """
    shorter = [
        msgspec.structs.replace(message, content=shortened(message.content, longest_chars))
        for message in _exchanges(history)
    ]
    texts = list(_newest_texts(shorter, set(_filtered(history)), budget_chars))
    return tuple(PromptMessage(role, text) for role, text in reversed(texts))


def simpler_prompts(prompt: Prompt) -> Iterator[Prompt]:
    """Successively simpler prompts to try when a model's service rejects the request.

    The cause may be in the history, or the history may exceed the model's context window. Every later request
    of the conversation would then be rejected as well; a reply with less context is better. First without the
    partial reply, which not every model can continue; then with the last quarter of the history; then with
    the new message alone.
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


def _newest_texts(
    history: Sequence[Message], left_out: Collection[str], budget_chars: int
) -> Iterator[tuple[Role, str]]:
    """The newest messages that fit, newest first."""
    for message in reversed(history):
        if message.id in left_out or is_blank(message.content):
            continue
        text = visible(message.content)
        if message.is_interrupted:
            text = f"{text}{PARAGRAPH}{CUT_OFF_NOTE}"
        budget_chars -= len(text) + len(PARAGRAPH)
        if budget_chars < 0:
            return
        yield message.role, text


def _newest_of(history: Sequence[PromptMessage], budget_chars: int) -> Sequence[PromptMessage]:
    """The newest messages that fit, starting with a user message."""
    first = len(history)
    while first > 0 and budget_chars >= len(history[first - 1].text):
        first -= 1
        budget_chars -= len(history[first].text)
    while first < len(history) and history[first].role is not Role.USER:
        first += 1
    return history[first:]


def _exchanges(history: Sequence[Message]) -> Iterable[Message]:
    """The history with each reply right after the message that it answers."""
    asked = {message.id for message in history if message.role is Role.USER}
    replies: defaultdict[str, list[Message]] = defaultdict(list)
    for message in history:
        if message.metadata.reply_to in asked:
            replies[message.metadata.reply_to].append(message)
    for message in history:
        if message.metadata.reply_to not in asked:
            yield message
            yield from replies[message.id]


def _waiting(history: Sequence[Message], user_message: Message) -> Iterable[str]:
    """Ids of the newer user messages at the end of the history."""
    for message in reversed(history):
        if message.role is not Role.USER:
            return
        if message.id > user_message.id:
            yield message.id


def _filtered(history: Sequence[Message]) -> Iterable[str]:
    """Ids of the replies that a content filter withheld or flagged, and of the messages they replied to.

    If preceding user messages had no reply either, they are included: the model received them together, and
    which one triggered the filter is unknown.
    """
    position = {message.id: number for number, message in enumerate(history)}
    for number, message in enumerate(history):
        if _is_filtered(message):
            yield message.id
            question = position.get(message.metadata.reply_to or "", number - 1)
            yield from _unanswered_until(history[: question + 1])


def _unanswered_until(history: Sequence[Message]) -> Iterable[str]:
    for message in reversed(history):
        if message.role is Role.USER:
            yield message.id
        elif not _is_filtered(message) and not is_blank(message.content):
            return


def _is_filtered(message: Message) -> bool:
    return message.is_withheld or message.is_flagged


def _alternating(texts: Iterable[tuple[Role, str]]) -> Iterable[PromptMessage]:
    for role, neighbours in groupby(texts, key=lambda entry: entry[0]):
        yield PromptMessage(role, PARAGRAPH.join(text for _, text in neighbours))
