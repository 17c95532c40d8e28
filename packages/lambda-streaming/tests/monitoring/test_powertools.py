"""Powertools for AWS Lambda with the functions of its page, against an X-Ray daemon's port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.intake import Intake, datagrams
from support.monitoring import TRACE_ID, Function, function, save_page

pytestmark = pytest.mark.peer

PARENT = "463ac35c9f6413ad"
NUL = b"\0" * 8


@pytest.fixture
def daemon() -> Iterator[Intake]:
    """What an X-Ray daemon receives."""
    with datagrams() as taken:
        yield taken


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The functions of the page."""
    assert save_page("powertools.md", tmp_path) == ["main", "api"]
    return tmp_path


def _segment(daemon: Intake, *, cold: bool) -> dict[str, Any]:
    """Wait for the handler's segment of the first invocation, or of a later one."""

    def is_it(segment: dict[str, Any]) -> bool:
        return segment["name"] == "## handler" and segment["annotations"]["ColdStart"] is cold

    return _decoded(daemon.wait_for(lambda sent: is_it(_decoded(sent.body))).body)


def _decoded(datagram: bytes) -> dict[str, Any]:
    _, _, segment = datagram.partition(b"\n")
    decoded: dict[str, Any] = json.loads(segment)
    return decoded


def _lines(running: Function) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.runtime.log.splitlines() if line.startswith("{")]


def test_logger_tracer_and_metrics_span_a_stream(folder: Path, daemon: Intake) -> None:
    """Of a stream that works, and of one that fails after two words."""
    environment = {"AWS_XRAY_DAEMON_ADDRESS": daemon.url}
    with function(folder, "main.handler", environment=environment) as running:
        assert running.invoke("/works").body.endswith(NUL + b"Hello, streaming world!")
        call = running.invoke("/fails")
        assert call.body.endswith(NUL + b"Hello, streaming ")
        assert call.trailers["lambda-runtime-function-error-type"] == "ValueError"
        lines = _lines(running)
        works, fails = _segment(daemon, cold=True), _segment(daemon, cold=False)
        segments = [_decoded(sent.body) for sent in daemon.received()]
    (logged,) = [line for line in lines if line.get("message") == "sent"]
    assert logged["function_request_id"] == "works"
    assert logged["correlation_id"] == "4d0a4ae5-5f2e-4bb2-8e2f-7d0c5c3c1a2b"
    assert logged["xray_trace_id"] == TRACE_ID
    assert [line["WordsSent"] for line in lines if "WordsSent" in line] == [[1.0, 1.0, 1.0], [1.0, 1.0]]
    assert [line["ColdStart"] for line in lines if "ColdStart" in line] == [[1.0]]
    assert (works["trace_id"], works["parent_id"]) == (TRACE_ID, PARENT)
    assert works["end_time"] > works["start_time"]
    assert "fault" not in works
    models = [segment for segment in segments if segment["name"] == "## main.model"]
    assert [segment["parent_id"] for segment in models] == [works["id"]] * 3 + [fails["id"]] * 2
    assert fails["fault"]
    (exception,) = fails["cause"]["exceptions"]
    assert [frame["label"] for frame in exception["stack"]][-2:] == ["handler", "handler"]
    assert exception["stack"][-1]["path"].endswith("main.py")


def test_the_event_handler_answers_next_to_a_stream(folder: Path) -> None:
    """The resolver's result is the response, with its status and headers; the other path streams."""
    with function(folder, "api.handler") as running:
        words = running.invoke("/words").body
        missing = running.invoke("/missing").body
        stream = running.invoke("/stream")
    prelude, _, body = bytes(words).partition(NUL)
    assert json.loads(prelude)["headers"]["Content-Type"] == "application/json"
    assert json.loads(body) == {"words": ["Hello,", "streaming", "world!"]}
    assert json.loads(bytes(missing).partition(NUL)[0])["statusCode"] == 404
    assert bytes(stream.body).partition(NUL)[2] == b"data: Hello,\n\ndata: streaming\n\ndata: world!\n\n"
