"""What of a conversation the model is shown: whole messages, the newest first, as far as the budget goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from coachstream.conversation.model import Message, Role
from coachstream.conversation.prompt import PromptMessage

CUT_OFF_NOTE = "[This reply was cut off.]"


def fit_history(
    history: Sequence[Message], user_message: Message, *, budget_chars: int
) -> tuple[PromptMessage, ...]:
    """Choose the messages that the model sees.

    Roles alternate, the first and the last message are the user's: neighbours of one role become one
    message, with a blank line between them. The new message is there whatever its length, once, and last.
    No message is cut; the first one that does not fit ends the choice, so there is no gap.

    Args:
        history: earlier messages, oldest first; may already hold the new one.
        user_message: the new one.
        budget_chars: characters of all messages together.
    """
    chosen = [user_message]
    left = budget_chars - len(user_message.content)
    for message in reversed(history):
        if message.id == user_message.id or not message.content:
            continue
        left -= len(message.content)
        if left < 0:
            break
        chosen.append(message)
    chosen.reverse()
    while chosen[0].role is not Role.USER:
        del chosen[0]
    return tuple(_alternating(chosen))


def _alternating(messages: Iterable[Message]) -> Iterable[PromptMessage]:
    for role, neighbours in groupby(messages, key=lambda message: message.role):
        yield PromptMessage(role, "\n\n".join(map(_text, neighbours)))


def _text(message: Message) -> str:
    return f"{message.content}\n\n{CUT_OFF_NOTE}" if message.is_interrupted else message.content
