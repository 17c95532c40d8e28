"""Every way an invocation can end: none reveals too much or breaks anything."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.model import StopReason
from coachstream.conversation.turn.report import TurnReport
from coachstream.observability.logs import LineHandler, set_up_logging
from coachstream.observability.observed import load, observed
from coachstream.observability.redaction import OURS, REDACTING_FILTER
from coachstream.settings import Logs

LOGS = Logs(metrics_namespace="Test")


class Context:
    """The parts of Lambda's context that are used."""

    function_name = "fn"

    def __init__(self, request_id: str = "r-1") -> None:
        self.aws_request_id = request_id


@pytest.fixture(autouse=True)
def logging_as_json() -> Iterator[None]:
    """Set up JSON logging for a test, and restore it afterwards."""
    load()
    set_up_logging(LOGS)
    yield
    for name in OURS:
        ours = logging.getLogger(name)
        ours.handlers = [handler for handler in ours.handlers if not isinstance(handler, LineHandler)]
        ours.propagate = True
        ours.setLevel(logging.NOTSET)
    for handler in (*logging.getLogger().handlers, logging.lastResort):
        if handler is not None:
            handler.removeFilter(REDACTING_FILTER)


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def report(**changes: Any) -> TurnReport:  # noqa: ANN401 (fields of the report)
    """The report of a turn that stored a whole reply, with these changes."""
    whole: dict[str, Any] = {
        "key": {"user_id": "u", "coach_id": "c", "conversation_id": "v"},
        "user_message_id": "msg_1_user",
        "reply_id": "msg_2_assistant",
        "error": None,
        "stop_reason": StopReason.END_TURN,
        "is_first_attempt": True,
        "was_answered": False,
        "context_ms": 1,
        "model_asked_ms": 1,
        "model_first_text_ms": 1,
        "first_chunk_ms": 2,
        "total_ms": 3,
        "chunks": 1,
        "reply_chars": 1,
        "history_messages": 1,
        "memories": 0,
        "workouts": 0,
        "matches": 0,
        "left_out": (),
        "failed_follow_ups": (),
        "usage": {},
    }
    return msgspec.convert({**whole, **changes}, TurnReport)


@pytest.mark.parametrize(
    ("turn", "outcome", "level"),
    [
        (report(), "ok", "INFO"),
        (report(was_answered=True, stop_reason=None), "ok", "INFO"),
        (report(error=ErrorCode.TURN_IN_PROGRESS), "error", "INFO"),
        (report(error=ErrorCode.MODEL_THROTTLED), "error", "WARNING"),
        (report(error=ErrorCode.STORAGE_UNAVAILABLE), "error", "ERROR"),
        (report(stop_reason=StopReason.INTERRUPTED), "cut_off", "WARNING"),
        (report(stop_reason=None, reply_id=None), "cut_off", "WARNING"),
    ],
)
async def test_the_log_level_of_a_turn_follows_from_its_ending(
    capsys: pytest.CaptureFixture[str], turn: TurnReport, outcome: str, level: str
) -> None:
    """ERROR needs attention, WARNING can happen, INFO is normal operation."""
    async with observed(Context()) as invocation:
        invocation.turn_ended(turn)
    [line] = printed(capsys)
    assert (line["outcome"], line["level"]) == (outcome, level)


async def test_an_uncaught_exception_is_logged_without_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It propagates to the runtime; the log line gives its origin, and the metrics count it."""

    async def invoke() -> None:
        async with observed(Context()) as invocation:
            invocation.logs = LOGS
            raise ValueError("a secret")

    with pytest.raises(ValueError, match="a secret"):
        await invoke()
    line, metrics, by_code = printed(capsys)
    assert (line["outcome"], line["level"], line["error_code"]) == ("error", "ERROR", "PROCESSING_ERROR")
    assert line["cause"].startswith("ValueError in invoke ")
    assert metrics["Errors"] == by_code["Errors"] == [1]
    assert "a secret" not in json.dumps([line, metrics, by_code])


async def test_an_invocation_that_is_cancelled_is_logged_as_cut_off(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An in-process server cancels an invocation at its timeout."""
    is_there = asyncio.Event()

    async def invoke() -> None:
        async with observed(Context()):
            is_there.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(invoke())
    await is_there.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [line] = printed(capsys)
    assert (line["outcome"], line["level"]) == ("cut_off", "WARNING")


async def test_a_closed_output_breaks_no_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The response has been sent; only its log line is lost."""
    closed = io.StringIO()
    closed.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", closed)
        async with observed(Context()) as invocation:
            invocation.logs = LOGS
            invocation.turn_ended(report())
    assert invocation.error is None


async def test_traces_that_overlap_in_one_process_do_not_mix(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred concurrent invocations each log their own event's trace, also from their tasks."""
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    everybody_is_there = asyncio.Barrier(100)

    async def say() -> None:
        logging.getLogger("coachstream.turn").warning("In a task")

    async def invoke(number: int) -> None:
        header = f"Self=x;Root={trace(number)};Sampled=1"
        async with observed(Context(f"r-{number}"), {"headers": {"x-amzn-trace-id": header}}) as invocation:
            invocation.logs = LOGS
            await everybody_is_there.wait()
            await asyncio.create_task(say())
            await asyncio.to_thread(logging.getLogger("coachstream.turn").warning, "In a thread")
            await everybody_is_there.wait()

    await asyncio.gather(*(invoke(number) for number in range(100)))
    documents = printed(capsys)
    assert len(documents) == 400
    for document in documents:
        name = document.get("function_request_id") or document["request_id"]
        assert document["xray_trace_id"] == trace(int(name.removeprefix("r-")))


def trace(number: int) -> str:
    return f"1-67e0a000-{number:024x}"


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        {"headers": None},
        {"headers": {"x-amzn-trace-id": "Root=my message;Bearer token"}},
        {"headers": {"x-amzn-trace-id": 1}},
        [],
    ],
)
async def test_an_invalid_trace_header_is_not_logged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, event: object
) -> None:
    """A header may contain anything."""
    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    async with observed(Context(), event):
        pass
    [line] = printed(capsys)
    assert "xray_trace_id" not in line
