"""Builds Converse requests from prompts (Bedrock API reference, "ConverseStream").

Content that is the same in every turn comes first and ends with a cache checkpoint, because a cache stores an
exact prefix of the prompt up to a checkpoint: `system`, then `messages`. The system prompt's static sections
come first. In a long conversation, the older messages are cached, too; then the content that changes with
each turn (the time, memories, search results) cannot precede them in the system prompt, and is put before the
user's text in the last message.

A partial reply for the model to continue is the last message, after everything that can be cached.

A guardrail checks only the user's newest message: it is a `guardContent` block, and if a request has one,
Bedrock evaluates no other part of it (user guide, "Include a guardrail with the Converse API"). Earlier
messages were checked in their own turns. If they were checked again, one blocked message would block the
conversation permanently, and a record that the application adds could block a harmless message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from coachstream.conversation.errors import ModelRejected
from coachstream.conversation.model import Role
from coachstream.conversation.prompt.prompt import Prompt, PromptMessage, Section
from coachstream.conversation.text import encodable
from coachstream.language.bedrock.continuation import beginning_of_reply
from coachstream.language.bedrock.options import BedrockOptions

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.type_defs import (
        ContentBlockTypeDef,
        ConverseRequestTypeDef,
        ConverseStreamRequestTypeDef,
        InferenceConfigurationTypeDef,
        SystemContentBlockTypeDef,
    )

    Message = tuple[Role, list[ContentBlockTypeDef]]

SECTION_BREAK = "\n\n---\n\n"

PARAGRAPH = "\n\n"
"""Between adjacent messages of one role: a model may read the blocks of a message as one text."""

CONTEXT_NOTE = "[From the application, for your answer to the message below. The user does not see this.]\n\n"

HISTORY_CACHED_FROM_MESSAGES = 12
"""Caching a shorter conversation does not pay off."""

HISTORY_CHECKPOINT_STEP = 10
"""A checkpoint moves only after this many messages, so that five turns read what one wrote."""


def stream_request(prompt: Prompt, options: BedrockOptions) -> ConverseStreamRequestTypeDef:
    """The request for a streamed reply.

    Raises:
        ModelRejected: the prompt has no user message.
    """
    system, messages = _content(prompt, options)
    request: ConverseStreamRequestTypeDef = {
        "modelId": options.model_id,
        "messages": [{"role": role.value, "content": blocks} for role, blocks in messages],
        "inferenceConfig": _inference(options),
    }
    if system:
        request["system"] = system
    if options.guardrail_id:
        request["guardrailConfig"] = {
            "guardrailIdentifier": options.guardrail_id,
            "guardrailVersion": options.guardrail_version,
            # `sync` holds text back until it is checked, which ends streaming (existing system, section 6).
            "streamProcessingMode": "async",
        }
        if options.guardrail_warns:
            request["guardrailConfig"]["trace"] = "enabled"
    return request


def whole_request(prompt: Prompt, options: BedrockOptions) -> ConverseRequestTypeDef:
    """The request for a reply in one piece.

    Raises:
        ModelRejected: the prompt has no user message.
    """
    system, messages = _content(prompt, options)
    request: ConverseRequestTypeDef = {
        "modelId": options.model_id,
        "messages": [{"role": role.value, "content": blocks} for role, blocks in messages],
        "inferenceConfig": _inference(options),
    }
    if system:
        request["system"] = system
    if options.guardrail_id:
        request["guardrailConfig"] = {
            "guardrailIdentifier": options.guardrail_id,
            "guardrailVersion": options.guardrail_version,
        }
        if options.guardrail_warns:
            request["guardrailConfig"]["trace"] = "enabled"
    return request


def _inference(options: BedrockOptions) -> InferenceConfigurationTypeDef:
    inference: InferenceConfigurationTypeDef = {"maxTokens": options.max_tokens}
    if options.sent_temperature is not None:
        inference["temperature"] = options.sent_temperature
    return inference


def _content(
    prompt: Prompt, options: BedrockOptions
) -> tuple[list[SystemContentBlockTypeDef], list[Message]]:
    messages = list(_alternating(prompt.messages))
    if not messages:
        raise ModelRejected("the prompt has no user message")
    static = _joined(section for section in prompt.sections if section.is_static)
    dynamic = _joined(section for section in prompt.sections if not section.is_static)
    system: list[SystemContentBlockTypeDef] = []
    if static:
        system.append({"text": static})
        if _is_cacheable(static, options):
            system.append({"cachePoint": {"type": "default"}})
    if options.guardrail_id:
        _guard_newest(messages)
    if _caches_history(messages, options):
        for index in _checkpoints(len(messages)):
            messages[index][1].append({"cachePoint": {"type": "default"}})
        if dynamic:
            messages[-1][1].insert(0, {"text": CONTEXT_NOTE + dynamic})
    elif dynamic:
        system.append({"text": dynamic})
    if options.can_continue:
        _append_beginning(messages, prompt.said)
    return system, messages


def _append_beginning(messages: list[Message], said: str) -> None:
    """Append the partial reply, so that the model continues it."""
    beginning = encodable(beginning_of_reply(said))
    if beginning:
        if messages[-1][0] is not Role.ASSISTANT:
            messages.append((Role.ASSISTANT, []))
        messages[-1][1].append({"text": beginning})


def _joined(sections: Iterable[Section]) -> str:
    return SECTION_BREAK.join(encodable(section.text) for section in sections if section.text.strip())


def _alternating(messages: Sequence[PromptMessage]) -> Iterable[Message]:
    """The messages as Bedrock requires them: not blank, with alternating roles, the user's first."""
    spoken = [message for message in messages if message.text.strip()]
    has_begun = False
    for role, neighbours in groupby(spoken, key=lambda message: message.role):
        has_begun = has_begun or role is Role.USER
        if has_begun:
            *earlier, last = (encodable(message.text) for message in neighbours)
            yield role, [{"text": text} for text in (*(f"{text}{PARAGRAPH}" for text in earlier), last)]


def _guard_newest(messages: Sequence[Message]) -> None:
    """Let the guardrail check only the user's newest text."""
    blocks = next(blocks for role, blocks in reversed(messages) if role is Role.USER)
    blocks[-1] = {"guardContent": {"text": {"text": blocks[-1]["text"]}}}


def _is_cacheable(text: str, options: BedrockOptions) -> bool:
    """Whether the text may be long enough to be cached: a token has at least one byte."""
    least = options.cached_from_tokens
    return least is not None and len(text.encode()) >= least


def _caches_history(messages: Sequence[Message], options: BedrockOptions) -> bool:
    return options.cached_from_tokens is not None and len(messages) >= HISTORY_CACHED_FROM_MESSAGES


def _checkpoints(messages: int) -> tuple[int, ...]:
    """The indexes of messages that end with a checkpoint: user messages, and never the last one.

    When the checkpoint advances, the previous one is kept for one step, so that its cache entry is used.
    """
    newest = (messages - 2) // HISTORY_CHECKPOINT_STEP * HISTORY_CHECKPOINT_STEP
    before = newest - HISTORY_CHECKPOINT_STEP
    return (before, newest) if before > 0 else (newest,)
