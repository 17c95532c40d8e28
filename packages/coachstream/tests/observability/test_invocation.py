"""What is logged and counted for an invocation: once, complete, and in a valid format."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.model import ConversationKey, StopReason, Usage
from coachstream.conversation.turn.report import TurnReport
from coachstream.observability.logs import LineHandler, set_up_logging
from coachstream.observability.observed import load, observed
from coachstream.observability.redaction import OURS, REDACTING_FILTER
from coachstream.settings import LogFormat, LogLevel, Logs
from support.turn_report import a_report

KEY = ConversationKey("user-1", "coach-1", "conv-1")
JSON = Logs(metrics_namespace="Test")

milliseconds = st.integers(0, 900_000)
reports = st.builds(
    TurnReport,
    key=st.just(KEY),
    user_message_id=st.none() | st.just("msg_1_user"),
    reply_id=st.none() | st.just("msg_2_assistant"),
    error=st.none() | st.sampled_from(ErrorCode),
    stop_reason=st.none() | st.sampled_from(StopReason),
    is_first_attempt=st.none() | st.booleans(),
    was_answered=st.booleans(),
    context_ms=st.none() | milliseconds,
    model_asked_ms=st.none() | milliseconds,
    model_first_text_ms=st.none() | milliseconds,
    first_chunk_ms=st.none() | milliseconds,
    total_ms=milliseconds,
    chunks=st.integers(0, 100_000),
    reply_chars=st.integers(0, 1_000_000),
    history_messages=st.integers(0, 200),
    memories=st.integers(0, 10),
    workouts=st.integers(0, 14),
    matches=st.integers(0, 6),
    left_out=st.just(()) | st.just(("memories", "semantic search")),
    failed_follow_ups=st.just(()) | st.just(("workout hand-off",)),
    usage=st.builds(Usage, *[st.integers(0, 10**7)] * 5),
)


class Context:
    """The parts of Lambda's context that are used."""

    function_name = "stream-coach-conversation"

    def __init__(self, request_id: str = "r-1") -> None:
        self.aws_request_id = request_id


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Load the heavy modules; afterwards, undo what a test has set up."""
    load()
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
    """Every printed line, decoded from JSON."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def check_metrics(document: dict[str, Any]) -> dict[str, float]:
    """Validate a document against the embedded metric format specification; return its metrics."""
    aws = document["_aws"]
    assert isinstance(aws["Timestamp"], int)
    [directive] = aws["CloudWatchMetrics"]
    assert 1 <= len(directive["Namespace"]) <= 1024
    for dimensions in directive["Dimensions"]:
        assert len(dimensions) <= 30
        assert all(isinstance(document[name], str) and document[name] for name in dimensions)
    assert 1 <= len(directive["Metrics"]) <= 100
    values: dict[str, float] = {}
    for metric in directive["Metrics"]:
        assert metric["Unit"] in {"Count", "Milliseconds"}
        [values[metric["Name"]]] = document[metric["Name"]]
    assert all(math.isfinite(value) and value >= 0 for value in values.values())
    return values


@given(report=reports, started=st.booleans())
async def test_every_turn_is_one_line_and_valid_metrics(
    capsys: pytest.CaptureFixture[str], report: TurnReport, started: bool
) -> None:
    """Whatever happened: unmeasured values are omitted rather than 0, and errors have their code."""
    set_up_logging(JSON)
    async with observed(Context()) as invocation:
        invocation.logs = JSON
        invocation.key = KEY
        if started:
            invocation.started()
        invocation.turn_ended(report)
    line, metrics, *errors = printed(capsys)
    assert line["function_request_id"] == "r-1"
    assert line["conversation_id"] == "conv-1"
    assert line.get("error_code") == report.error
    assert ("first_chunk_ms" in line) == (report.first_chunk_ms is not None)
    values = check_metrics(metrics)
    assert ("TimeToStart" in values) == started
    assert ("TimeToFirstChunk" in values) == (report.first_chunk_ms is not None)
    assert ("OutputTokens" in values) == bool(report.usage.input_tokens or report.usage.output_tokens)
    assert values["TurnDuration"] == report.total_ms
    assert values["Errors"] == len(errors) == (report.error is not None)
    for error in errors:
        assert check_metrics(error) == {"Errors": 1}
        assert error["code"] == report.error


async def test_the_metrics_of_a_turn_are_those_of_the_issue(capsys: pytest.CaptureFixture[str]) -> None:
    """Alarms and dashboards use these names."""
    async with observed(Context()) as invocation:
        invocation.logs = JSON
        invocation.started()
        invocation.turn_ended(a_report(KEY))
    [metrics] = printed(capsys)
    values = check_metrics(metrics)
    assert values.pop("TimeToStart") < 1000
    assert values.pop("ColdStart") in {0, 1}
    assert values == {
        "Errors": 0,
        "TurnDuration": 3000,
        "TimeToFirstChunk": 421,
        "ContextLoadTime": 20,
        "ModelTimeToFirstToken": 400,
        "Chunks": 80,
        "InputTokens": 1000,
        "OutputTokens": 200,
        "CacheReadTokens": 800,
    }
    assert metrics["service"] == "stream-coach-conversation"
    assert metrics["request_id"] == "r-1"


async def test_invocations_that_overlap_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    """With a hundred at once, each line and metric has its own request's ids and codes."""
    set_up_logging(JSON)
    everybody_is_there = asyncio.Barrier(100)
    codes = list(ErrorCode)

    async def invoke(number: int) -> None:
        async with observed(Context(f"r-{number}")) as invocation:
            invocation.logs = JSON
            await everybody_is_there.wait()
            logging.getLogger("coachstream.turn").warning("Something of %d", number)
            invocation.error = codes[number % len(codes)]
            await everybody_is_there.wait()

    await asyncio.gather(*(invoke(number) for number in range(100)))
    documents = printed(capsys)
    assert len(documents) == 400
    for document in documents:
        name = document.get("function_request_id") or document["request_id"]
        number = int(name.removeprefix("r-"))
        if "message" in document:
            said = document["message"]
            assert said == f"Something of {number}" or codes[number % len(codes)] in said
        elif "code" in document:
            assert document["code"] == codes[number % len(codes)]


async def test_an_invocation_that_raises_is_still_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """The exception propagates to the runtime."""
    set_up_logging(JSON)
    with pytest.raises(RuntimeError, match="broken"):
        async with observed(Context()):
            raise RuntimeError("broken")
    [line] = printed(capsys)
    assert line["function_request_id"] == "r-1"


async def test_the_trace_id_is_that_of_x_ray(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The root of the trace header in the runtime's environment variable, in lines and metrics."""
    set_up_logging(JSON)
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c;Sampled=1")
    async with observed(Context()) as invocation:
        invocation.logs = JSON
    line, metrics = printed(capsys)
    assert line["xray_trace_id"] == metrics["xray_trace_id"] == "1-5759e988-bd862e3fe1be46a994272793"


def test_an_exception_is_logged_by_its_type_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Its text and traceback may quote user data."""
    set_up_logging(JSON)
    try:
        int("a secret")
    except ValueError:
        logging.getLogger("coachstream.turn").exception("It failed")
    [line] = printed(capsys)
    assert (line["message"], line["exception_name"]) == ("It failed", "ValueError")
    assert "a secret" not in json.dumps(line)


def test_a_record_that_cannot_be_formatted_says_so_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its arguments are not printed."""
    set_up_logging(JSON)
    logging.getLogger("coachstream.turn").warning("%d", "a secret")
    assert capsys.readouterr().out == "A log record could not be formatted.\n"


async def test_the_text_format_is_one_readable_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Level and sentence, and no metrics if they are off."""
    logs = Logs(format=LogFormat.TEXT, metrics_namespace=None)
    set_up_logging(logs)
    async with observed(Context()) as invocation:
        invocation.logs = logs
        invocation.error = ErrorCode.TOKEN_EXPIRED
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("INFO    The request ended with TOKEN_EXPIRED after ")


@pytest.mark.parametrize(("level", "heard"), [(LogLevel.INFO, 2), (LogLevel.WARNING, 1), (LogLevel.ERROR, 0)])
def test_the_level_decides_what_is_logged(
    capsys: pytest.CaptureFixture[str], level: LogLevel, heard: int
) -> None:
    """It applies to our loggers; setting up twice prints nothing twice."""
    for _ in range(2):
        set_up_logging(Logs(level=level))
    logging.getLogger("coachstream.turn").info("one")
    logging.getLogger("lambda_streaming").warning("two")
    assert len(printed(capsys)) == heard


def test_a_handler_imports_nothing_heavy_before_its_first_byte() -> None:
    """Log formatting, AWS clients and token verification are imported when they are needed."""
    check = (
        "import sys, coachstream.functions.stream_coach_conversation.handler as h, "
        "coachstream.functions.send_coach_conversation_message.handler as s\n"
        "print([m for m in ('aws_lambda_powertools', 'aiobotocore', 'botocore', 'pinecone', 'httpx', 'jwt',"
        " 'cryptography', 'sqlite3', 'coachstream.conversation.turn.turn') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
