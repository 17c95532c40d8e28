"""The AI SDK's UI message stream, version 1: what `DefaultChatTransport` sends, and what `useChat` reads.

Written for AI SDK 7 (npm `ai`; `docs/04-ai-sdk-ui/50-stream-protocol.mdx` in the package). Version 6
reads the same stream, except for `reset-step`, which is new in 7: there, text that is withdrawn while the
client reads ends the response with the client's own error. A resumed stream begins behind the last reset, so
only a later one can withdraw text in it.

The protocol has no cursor: a client that resumes reads the reply from its beginning, and `start` makes it
discard what it has. So the id in `start` derives from the user's message, and is the same for every reader.
It has no word for `reconnect` either: such a response ends without `finish`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import assert_never

import msgspec

from coachstream.conversation.another_try import RetriedMessage
from coachstream.conversation.errors import InvalidRequest, InvalidUserResponse
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
from coachstream.conversation.model import Message, Role, StopReason, to_milliseconds
from coachstream.web.frames import Frame, frame_of
from coachstream.web.request_body import NewMessage, decode_body, message_text, require_text_only, time_zone
from coachstream.web.sse import KEEP_ALIVE, RESPONSE_HEADERS, encode_frame
from coachstream.web.wire_protocol import (
    Posted,
    ReplyMetadata,
    SentText,
    idempotency_key,
    is_from,
    key_of,
    reply_id,
    reply_metadata,
    text_of_parts,
)

HEADERS: Mapping[str, str] = {**RESPONSE_HEADERS, "x-vercel-ai-ui-message-stream": "v1"}

DONE = b"data: [DONE]\n\n"
"""What the AI SDK's own servers send last."""

SUBMIT, REGENERATE = "submit-message", "regenerate-message"
"""The values of `trigger`."""

FINISH_REASONS: Mapping[StopReason, str] = {
    StopReason.END_TURN: "stop",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.GUARDRAIL_WARNING: "stop",
    StopReason.MAX_TOKENS: "length",
    StopReason.CONTENT_FILTERED: "content-filter",
    StopReason.STOPPED: "other",
    StopReason.INTERRUPTED: "other",
}

_DATA: Mapping[type[Event], str] = {
    Queued: "data-queued",
    Contextual: "data-contextual",
    GuardrailWarning: "data-guardrail-warning",
    Reconnect: "data-reconnect",
}
"""The data parts that tell of our events for which the protocol has no word."""


class AiSdkBody(msgspec.Struct, rename="camel"):
    """What `DefaultChatTransport` sends, still unchecked."""

    messages: list[msgspec.Raw]
    trigger: str | None = None
    message_id: str | None = None
    user_timezone: object = None


class _UiMessage(msgspec.Struct):
    role: str
    id: str
    parts: list[msgspec.Raw] = []


class _RunMetadata(msgspec.Struct, frozen=True, rename="camel"):
    run_id: str


class _Start(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="start"):
    message_id: str | None = None
    message_metadata: _RunMetadata | None = None


class _StartStep(msgspec.Struct, frozen=True, tag="start-step"):
    pass


class _FinishStep(msgspec.Struct, frozen=True, tag="finish-step"):
    pass


class _ResetStep(msgspec.Struct, frozen=True, tag="reset-step"):
    pass


class _TextStart(msgspec.Struct, frozen=True, tag="text-start"):
    id: str


class _TextDelta(msgspec.Struct, frozen=True, tag="text-delta"):
    id: str
    delta: str


class _TextEnd(msgspec.Struct, frozen=True, tag="text-end"):
    id: str


class _Finish(msgspec.Struct, frozen=True, rename="camel", tag="finish"):
    finish_reason: str
    message_metadata: ReplyMetadata


class _Error(msgspec.Struct, frozen=True, rename="camel", tag="error"):
    error_text: str


class _Data(msgspec.Struct, frozen=True):
    """An event of ours, as a data part that only `onData` gets: it is not added to the message."""

    type: str
    data: Frame
    transient: bool = True


def read_post(body: bytes | None, *, received_at: datetime) -> Posted:
    """Read the last message, which must be the user's; the store knows the ones before.

    The package has no id for an attempt, and names messages by ids of its own. `regenerate()` sends the list
    without the reply, and `sendMessage({ messageId })` the edited message under the id that it had. Both end
    with the message that is to be tried again (`RetriedMessage`).

    Raises:
        MissingRequestBody, InvalidJson, InvalidRequest, AttachmentRejected, InvalidUserResponse,
        InvalidClientMessageId, MessageTooLong, InvalidTimeZone: the first of these that applies.
    """
    fields = decode_body(body, AiSdkBody)
    if fields.trigger not in {None, SUBMIT, REGENERATE}:
        raise InvalidRequest("trigger")
    require_text_only(body)
    message = _last_message(fields.messages)
    key = idempotency_key(message.id)
    retried: RetriedMessage | None = None
    if fields.trigger == REGENERATE or fields.message_id == message.id:
        retried = RetriedMessage(key, is_for_another_reply=fields.trigger == REGENERATE)
    return Posted(
        NewMessage(
            text=message_text(text_of_parts(message.parts)),
            sent_at=to_milliseconds(received_at),
            client_message_id=key,
            time_zone=time_zone(fields.user_timezone),
            retried=retried,
        ),
        AiSdkEncoder(reply_id(key)),
    )


def encoder_of_run(run_id: str, user_message: Message) -> AiSdkEncoder:
    """The encoder for a reader that joins a run."""
    return AiSdkEncoder(reply_id(key_of(user_message)), run_id=run_id)


def _last_message(messages: Sequence[msgspec.Raw]) -> _UiMessage:
    if not messages or not is_from(Role.USER, messages[-1]):
        raise InvalidUserResponse
    return decode_body(bytes(messages[-1]), _UiMessage)


class AiSdkEncoder:
    """Encodes events as chunks of a UI message stream.

    Args:
        message_id: the id of the reply in the client's list of messages.
        run_id: the run, if it is already known.
    """

    headers: Mapping[str, str] = HEADERS

    def __init__(self, message_id: str | None, *, run_id: str | None = None) -> None:
        self._message_id = message_id
        self._run_id = run_id
        self._has_begun = False
        self._text = SentText()
        #: The number of the text part; a new one follows a reset.
        self._part = 1

    def begin(self) -> bytes:
        """Encode `start` if the run is known; a comment otherwise.

        A turn that is refused has no message, and its client should not show an empty one.
        """
        return KEEP_ALIVE if self._run_id is None else self._start()

    def encode(self, event: Event) -> bytes:
        """Encode an event as chunks, with what must precede them."""
        match event:
            case Started():
                chunks = b""
            case Attached(point):
                chunks = self._attach(point.run_id)
            case Chunk(content):
                chunks = self._start_once() + self._say(content)
            case Reset(offset):
                chunks = self._reset(offset)
            case Queued() | Contextual() | GuardrailWarning() | Reconnect():
                chunks = _data(_DATA[type(event)], event)
            case Completed():
                chunks = self._start_once() + self._end_text() + self._finish(event) + DONE
            case Failed():
                error = encode_frame(_Error(event.sentence))
                chunks = self._end_text() + _data("data-error", event) + error + DONE
            case _:
                assert_never(event)
        return chunks

    def _attach(self, run_id: str) -> bytes:
        if run_id == self._run_id:
            return b""
        self._run_id = run_id
        if not self._has_begun:
            return self._start()
        # Another run answers the message: the reply keeps its id, and its metadata get the new run's.
        return encode_frame(_Start(message_metadata=_RunMetadata(run_id)))

    def _start_once(self) -> bytes:
        return b"" if self._has_begun else self._start()

    def _start(self) -> bytes:
        self._has_begun = True
        metadata = None if self._run_id is None else _RunMetadata(self._run_id)
        return encode_frame(_Start(self._message_id, metadata)) + encode_frame(_StartStep())

    @property
    def _part_id(self) -> str:
        return f"text-{self._part}"

    def _say(self, text: str) -> bytes:
        opening = b"" if self._text else encode_frame(_TextStart(self._part_id))
        self._text.add(text)
        return opening + encode_frame(_TextDelta(self._part_id, text))

    def _reset(self, offset: int) -> bytes:
        if not self._text:
            return b""
        kept = self._text.withdraw(offset)
        self._part += 1
        return encode_frame(_ResetStep()) + (self._say(kept) if kept else b"")

    def _end_text(self) -> bytes:
        return encode_frame(_TextEnd(self._part_id)) if self._text else b""

    def _finish(self, event: Completed) -> bytes:
        metadata = reply_metadata(event, self._run_id)
        finish = _Finish(FINISH_REASONS[event.stop_reason], metadata)
        return encode_frame(_FinishStep()) + encode_frame(finish)


def _data(kind: str, event: Event) -> bytes:
    return encode_frame(_Data(kind, frame_of(event)))
