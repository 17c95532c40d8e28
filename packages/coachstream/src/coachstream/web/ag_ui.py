"""AG-UI, the agent-user interaction protocol: a `RunAgentInput` in, AG-UI events out.

Written for protocol version 1.0 (npm `@ag-ui/core` 1.0), and what it sends is valid in 0.x as well. A client
that names no version (`protocolVersion`, new in 1.0) does not get the outcome `cancelled`: it is new in 1.0,
too, and a run that ends with it fails in older clients (npm `@ag-ui/client` 0.0.59, November 2026).

The protocol has no cursor: an agent that runs again with the same last user message reads the reply from its
beginning. What it may still have of it, the messages behind that one in its input, is discarded by a
`MESSAGES_SNAPSHOT`; so is text that a reset withdraws. Each run of the client has an id of its own for the
reply, because one that keeps the earlier attempt as a branch ignores a message whose id it knows. The
protocol has no word for `reconnect`: such a run ends with a `RUN_ERROR` of the code `RECONNECT`, after which
the client runs the agent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import assert_never

import msgspec

from coachstream.conversation.errors import AttachmentRejected, InvalidUserResponse
from coachstream.conversation.events import (
    Attached,
    Chunk,
    Completed,
    Contextual,
    Event,
    Failed,
    GuardrailWarning,
    Queued,
    Reconnect,
    Reset,
    Started,
)
from coachstream.conversation.model import Role, StopReason, to_milliseconds
from coachstream.web.frames import Frame, frame_of
from coachstream.web.request_body import NewMessage, decode_body, message_text, require_text_only, time_zone
from coachstream.web.sse import RESPONSE_HEADERS, encode_frame
from coachstream.web.wire_protocol import (
    Posted,
    ReplyMetadata,
    SentText,
    idempotency_key,
    is_from,
    reply_id,
    reply_metadata,
    text_of_parts,
)

RECONNECT = "RECONNECT"
RECONNECT_SENTENCE = "The reply continues. Please reconnect."

_CUSTOM: Mapping[type[Event], str] = {
    Queued: "coachstream.queued",
    Contextual: "coachstream.contextual",
    GuardrailWarning: "coachstream.guardrail_warning",
}
"""The names of our events that AG-UI has no type for."""


class AgUiBody(msgspec.Struct, rename="camel"):
    """A `RunAgentInput`, still unchecked; `tools` and `state` are ignored, because no coach uses any."""

    thread_id: str
    run_id: str
    messages: list[msgspec.Raw]
    protocol_version: str | None = None
    context: list[msgspec.Raw] = []
    resume: list[msgspec.Raw] = []
    forwarded_props: object = None


class _UserMessage(msgspec.Struct):
    id: str
    content: str | list[msgspec.Raw]


class _RunStarted(msgspec.Struct, frozen=True, rename="camel", tag="RUN_STARTED"):
    thread_id: str
    run_id: str


class _TokenUsage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`input_tokens` includes those that were read from the model's cache, or written to it."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cache_write_input_tokens: int
    model: str | None = None


class _Outcome(msgspec.Struct, frozen=True):
    type: str


class _RunFinished(msgspec.Struct, frozen=True, rename="camel", tag="RUN_FINISHED"):
    thread_id: str
    run_id: str
    result: ReplyMetadata
    outcome: _Outcome
    usage: tuple[_TokenUsage, ...]


class _RunError(msgspec.Struct, frozen=True, tag="RUN_ERROR"):
    message: str
    code: str
    metadata: Mapping[str, Frame]


class _TextStart(msgspec.Struct, frozen=True, rename="camel", tag="TEXT_MESSAGE_START"):
    message_id: str
    role: str = "assistant"


class _TextContent(msgspec.Struct, frozen=True, rename="camel", tag="TEXT_MESSAGE_CONTENT"):
    message_id: str
    delta: str


class _TextEnd(msgspec.Struct, frozen=True, rename="camel", tag="TEXT_MESSAGE_END"):
    message_id: str


class _MessagesSnapshot(msgspec.Struct, frozen=True, tag="MESSAGES_SNAPSHOT"):
    messages: Sequence[object]


class _Custom(msgspec.Struct, frozen=True, tag="CUSTOM"):
    """An event of ours that AG-UI has no type for."""

    name: str
    value: Frame


def read_post(body: bytes | None, *, received_at: datetime) -> Posted:
    """Read the last message of the user; the store knows the ones before.

    Raises:
        MissingRequestBody, InvalidJson, AttachmentRejected, InvalidUserResponse, InvalidClientMessageId,
        MessageTooLong, InvalidTimeZone: the first of these that applies.
    """
    fields = decode_body(body, AgUiBody)
    require_text_only(body)
    if fields.context or fields.resume:
        raise AttachmentRejected
    number = _last_user_message(fields.messages)
    message = decode_body(bytes(fields.messages[number]), _UserMessage)
    key = idempotency_key(message.id)
    return Posted(
        NewMessage(
            text=message_text(
                message.content if isinstance(message.content, str) else text_of_parts(message.content)
            ),
            sent_at=to_milliseconds(received_at),
            client_message_id=key,
            time_zone=time_zone(_forwarded(fields, "userTimezone")),
        ),
        AgUiEncoder(
            fields.thread_id,
            fields.run_id,
            message_id=f"{reply_id(key)}-{_bounded(fields.run_id)}",
            history=[decode_body(bytes(raw), object) for raw in fields.messages[: number + 1]],
            has_more=number + 1 < len(fields.messages),
            protocol_version=fields.protocol_version,
        ),
    )


def _last_user_message(messages: Sequence[msgspec.Raw]) -> int:
    for number in reversed(range(len(messages))):
        if is_from(Role.USER, messages[number]):
            return number
    raise InvalidUserResponse


def _bounded(run_id: str) -> str:
    """An id to repeat in every event, however long the client's is."""
    return idempotency_key(run_id) if run_id else ""


def _forwarded(fields: AgUiBody, name: str) -> object:
    return fields.forwarded_props.get(name) if isinstance(fields.forwarded_props, dict) else None


class AgUiEncoder:
    """Encodes events as AG-UI events.

    Args:
        thread_id: the client's name for the conversation.
        run_id: the client's name for this request.
        message_id: the id of the reply in the client's list of messages.
        history: the client's messages up to the one that is answered.
        has_more: whether the client has messages after that one, which are an earlier attempt to read the
            reply.
        protocol_version: the client's, which is unknown before 1.0.
    """

    headers: Mapping[str, str] = RESPONSE_HEADERS

    def __init__(
        self,
        thread_id: str,
        run_id: str,
        *,
        message_id: str,
        history: Sequence[object],
        has_more: bool,
        protocol_version: str | None,
    ) -> None:
        self._thread_id = thread_id
        self._run_id = run_id
        self._reply_id = message_id
        self._history = history
        self._has_more = has_more
        self._knows_cancelled = protocol_version is not None
        #: Our id of the run.
        self._run: str | None = None
        self._text = SentText()
        #: How often text was withdrawn: no id of a message that is closed is used again.
        self._resets = 0

    def begin(self) -> bytes:
        """Encode `RUN_STARTED`, and discard what the client has of the reply."""
        started = encode_frame(_RunStarted(self._thread_id, self._run_id))
        return started + (self._snapshot() if self._has_more else b"")

    def encode(self, event: Event) -> bytes:
        """Encode an event as AG-UI events, with what must precede them."""
        match event:
            case Started():
                encoded = b""
            case Attached(point):
                encoded = b"" if point.run_id == self._run else _custom("coachstream.run", event)
                self._run = point.run_id
            case Chunk(content):
                encoded = self._say(content)
            case Reset(offset):
                encoded = self._reset(offset)
            case Queued() | Contextual() | GuardrailWarning():
                encoded = _custom(_CUSTOM[type(event)], event)
            case Reconnect():
                encoded = self._end_text() + _error(RECONNECT_SENTENCE, RECONNECT, event)
            case Completed():
                encoded = self._end_text() + self._finish(event)
            case Failed(code, sentence):
                encoded = self._end_text() + _error(sentence, code.value, event)
            case _:
                assert_never(event)
        return encoded

    @property
    def _message_id(self) -> str:
        return f"{self._reply_id}-{self._resets + 1}" if self._resets else self._reply_id

    def _snapshot(self) -> bytes:
        return encode_frame(_MessagesSnapshot(self._history))

    def _say(self, text: str) -> bytes:
        opening = b"" if self._text else encode_frame(_TextStart(self._message_id))
        self._text.add(text)
        return opening + encode_frame(_TextContent(self._message_id, text))

    def _reset(self, offset: int) -> bytes:
        if not self._text:
            return b""
        withdrawn = self._end_text() + self._snapshot()
        kept = self._text.withdraw(offset)
        self._resets += 1
        return withdrawn + (self._say(kept) if kept else b"")

    def _end_text(self) -> bytes:
        return encode_frame(_TextEnd(self._message_id)) if self._text else b""

    def _finish(self, event: Completed) -> bytes:
        result = reply_metadata(event, self._run)
        usage = event.usage
        cached, written = usage.cache_read_tokens, usage.cache_write_tokens
        tokens = _TokenUsage(
            usage.input_tokens + cached + written, usage.output_tokens, cached, written, result.model
        )
        is_cancelled = self._knows_cancelled and event.stop_reason is StopReason.STOPPED
        outcome = _Outcome("cancelled" if is_cancelled else "success")
        return encode_frame(_RunFinished(self._thread_id, self._run_id, result, outcome, (tokens,)))


def _custom(name: str, event: Event) -> bytes:
    return encode_frame(_Custom(name, frame_of(event)))


def _error(sentence: str, code: str, event: Event) -> bytes:
    return encode_frame(_RunError(sentence, code, {"coachstream": frame_of(event)}))
