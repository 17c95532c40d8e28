"""Whatever a turn sends, the packages of other wire protocols read it, and show the text of the reply."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec
import pytest
from ag_ui_validate import create_validator
from hypothesis import given, settings
from hypothesis import strategies as st

from coachstream.conversation.errors import (
    CoachStreamError,
    ErrorCode,
    MethodNotAllowed,
    QuotaExceeded,
    TurnInProgress,
    kind_of,
)
from coachstream.conversation.events import (
    Attached,
    Chunk,
    Completed,
    Contextual,
    Event,
    Failed,
    GuardrailWarning,
    LogPoint,
    Reconnect,
    Reset,
    Stage,
    Started,
    failed_by,
)
from coachstream.conversation.model import (
    Message,
    MessageMetadata,
    QuotaLeft,
    Role,
    SemanticContextUse,
    StopReason,
    Timings,
    Usage,
)
from coachstream.conversation.quotas import DAY_MS, FULL_FOR_S, Quota
from coachstream.conversation.text import utf16_length
from coachstream.web.ag_ui import RECONNECT_SENTENCE, AgUiEncoder
from coachstream.web.ai_sdk import AiSdkEncoder
from coachstream.web.sse import SseReader
from coachstream.web.wire_protocol import Encoder
from support.front_end_programs import Oracle, oracle

QUESTION: dict[str, object] = {"id": "m-1", "role": "user", "content": "How was my week?"}
PARTIAL: dict[str, object] = {"id": "re-m-1", "role": "assistant", "content": "Half an ans"}


class Turn(msgspec.Struct, frozen=True):
    """What a turn sends, and the text that its reader then has."""

    events: Sequence[Event]
    text: str

    @property
    def ending(self) -> Event:
        return self.events[-1]


@st.composite
def turns(draw: st.DrawFn) -> Turn:
    """The events that a turn can send a reader that begins with nothing."""
    events: list[Event] = [Started()]
    text, runs = "", 0
    words = st.text(min_size=1, max_size=8)
    for step in draw(
        st.lists(st.sampled_from(["say", "say", "reset", "cut", "attach", "notice"]), max_size=12)
    ):
        if runs == 0 or step == "attach":
            if text:
                events.append(Reset(0))
                text = ""
            runs += 1
            events.append(Attached(LogPoint(f"run_{runs}", 0)))
        match step:
            case "say":
                word = draw(words)
                events.append(Chunk(word, utf16_length(text)))
                text += word
            case "reset":
                events.append(Reset(0))
                text = ""
            case "cut":
                text = text[: draw(st.integers(0, len(text)))]
                events.append(Reset(utf16_length(text)))
            case "notice":
                events.append(Contextual(draw(words), draw(st.sampled_from(Stage))))
    events.append(draw(endings(text)))
    if isinstance(events[-1], Completed) and events[-1].reply.is_flagged:
        events.insert(-1, GuardrailWarning())
    return Turn(events, text)


@st.composite
def endings(draw: st.DrawFn, text: str) -> Event:
    """The last event of a turn whose reader has this text."""
    kind = draw(st.sampled_from(["completed", "failed", "reconnect"]))
    if kind == "reconnect":
        return Reconnect(LogPoint("run_1", 4))
    if kind == "failed":
        return failed_by(error_of(draw(st.sampled_from(ErrorCode)), draw(quotas_left())))
    reason = draw(st.sampled_from(StopReason))
    return Completed(
        user_message=message(Role.USER, str(QUESTION["content"])),
        reply=message(Role.ASSISTANT, text, stop_reason=reason),
        conversation_id="conv1",
        semantic_context=SemanticContextUse(),
        stop_reason=reason,
        usage=Usage(*draw(st.tuples(*[st.integers(0, 9)] * 5))),
        timings=Timings(context=1, first_chunk=draw(st.none() | st.just(2)), total=3),
        quotas=tuple(draw(st.lists(quotas_left(), max_size=3))),
    )


def quotas_left() -> st.SearchStrategy[QuotaLeft]:
    """What is left of a quota, up to the greatest integers that a header field can have."""
    amounts = st.integers(0, 10**15 - 1)
    names = st.sampled_from([quota.value for quota in Quota])
    return st.builds(QuotaLeft, names, amounts, amounts, st.none() | st.integers(1, DAY_MS // 1000))


def error_of(code: ErrorCode, quota: QuotaLeft) -> CoachStreamError:
    """An error with this code; the quota is that of a refusal for it."""
    match code:
        case ErrorCode.TURN_IN_PROGRESS:
            return TurnInProgress("run_1", message(Role.USER, "Waits"))
        case ErrorCode.METHOD_NOT_ALLOWED:
            return MethodNotAllowed(("GET",))
        case ErrorCode.QUOTA_EXCEEDED:
            return QuotaExceeded(quota, retry_after_s=quota.reset_s or FULL_FOR_S)
    return kind_of(code)()


def message(role: Role, text: str, *, stop_reason: StopReason | None = None) -> Message:
    metadata = MessageMetadata(client_message_id="m-1", stop_reason=stop_reason, model="scripted")
    return Message(f"msg_1_{role.value}", role, text, datetime(2026, 1, 1, tzinfo=UTC), metadata)


def encoded(encoder: Encoder, events: Sequence[Event]) -> bytes:
    return encoder.begin() + b"".join(map(encoder.encode, events))


def of_ag_ui(*, has_more: bool, version: str | None = "1.0") -> AgUiEncoder:
    return AgUiEncoder(
        "thread-1",
        "run-1",
        message_id="re-m-1",
        history=[QUESTION],
        has_more=has_more,
        protocol_version=version,
    )


@pytest.fixture(scope="module")
def official() -> Iterator[Oracle]:
    """The official packages, in one program for all examples."""
    with oracle() as running:
        yield running


@given(turn=turns(), run_is_known=st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_the_ai_sdk_accepts_every_turn_and_shows_its_text(
    official: Oracle, turn: Turn, *, run_is_known: bool
) -> None:
    """Its schema takes each chunk, in one text part at most; a failure has our sentence."""
    run_id = "run_1" if run_is_known else None
    read = official.read("ai-sdk", encoded(AiSdkEncoder("re-m-1", run_id=run_id), turn.events), [])
    failure = turn.ending.sentence if isinstance(turn.ending, Failed) else None
    assert read == {"text": turn.text, "parts": 1 if turn.text else 0, "failure": failure}


@given(turn=turns())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_earlier_versions_of_the_ai_sdk_accept_every_turn_that_withdraws_nothing(
    official: Oracle, turn: Turn
) -> None:
    """Only `reset-step` is new in version 7."""
    events = [event for event in turn.events if not isinstance(event, Reset)]
    said = "".join(event.content for event in events if isinstance(event, Chunk))
    read = official.read("ai-sdk-6", encoded(AiSdkEncoder("re-m-1"), events), [])
    failure = turn.ending.sentence if isinstance(turn.ending, Failed) else None
    assert (read["text"], read["failure"]) == (said, failure)


@given(turn=turns(), has_more=st.booleans(), version=st.sampled_from(["1.0", None]))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_the_client_of_ag_ui_accepts_every_turn_and_shows_its_text(
    official: Oracle, turn: Turn, *, has_more: bool, version: str | None
) -> None:
    """Also if it still has a part of the reply from an earlier attempt; it ends up with one message.

    Clients before protocol version 1.0 name none.
    """
    messages = [QUESTION, PARTIAL] if has_more else [QUESTION]
    client = "ag-ui" if version else "ag-ui-0"
    read = official.read(client, encoded(of_ag_ui(has_more=has_more, version=version), turn.events), messages)
    failure = turn.ending.sentence if isinstance(turn.ending, Failed) else None
    if isinstance(turn.ending, Reconnect):
        failure = RECONNECT_SENTENCE
    assert read == {"text": turn.text, "parts": 1 if turn.text else 0, "failure": failure}


@given(turn=turns(), has_more=st.booleans(), version=st.sampled_from(["1.0", None]))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_stream_conforms_to_ag_ui(turn: Turn, *, has_more: bool, version: str | None) -> None:
    """The protocol's validator has no finding, not even a warning."""
    validator = create_validator()
    for data in SseReader().feed(encoded(of_ag_ui(has_more=has_more, version=version), turn.events)):
        validator.feed(data)
    validator.finalize()
    assert [each for each in validator.report().diagnostics if each.severity != "info"] == []
