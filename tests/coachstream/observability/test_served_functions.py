"""The log of the real functions, served as a person would serve them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.patience import PATIENCE_S
from support.serving import create_conversation, serving

SECRET = "my-knee-hurts-" + "q7" * 8


@pytest.mark.parametrize("options", [(), ("--in-process",)])
def test_no_secret_of_a_run_is_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Messages, replies, tokens, headers and paths, with every level at DEBUG."""
    monkeypatch.setenv("COACHSTREAM_LOG_LEVEL", "debug")
    monkeypatch.setenv("COACHSTREAM_LOG_FORMAT", "json")
    monkeypatch.setenv("COACHSTREAM_METRICS_NAMESPACE", "off" if options else "Test")
    with serving(tmp_path / "data", "--model-delay", "0", *options) as server:
        ready = server.ready
        conversation = create_conversation(ready)
        headers = {**ready.headers, "x-of-the-client": SECRET}
        for text in (f"How about {SECRET}?", f"/save-memory {SECRET}"):
            told = httpx.post(
                ready.stream(conversation), headers=headers, json={"userResponse": text}, timeout=PATIENCE_S
            )
            assert '"type":"complete"' in told.text
        for path, token, body in (
            (ready.stream(conversation), SECRET, "{}"),
            (ready.stream(conversation), ready.token, f'{{"userResponse": "{SECRET}'),
            (ready.stream(f"I say {SECRET}"), ready.token, f'{{"userResponse": "{SECRET}"}}'),
        ):
            refused = {**headers, "authorization": f"Bearer {token}"}
            httpx.post(path, headers=refused, content=body, timeout=PATIENCE_S)
        token = ready.token
        server.stop()
    log = (tmp_path / "serve.log").read_text()
    assert SECRET not in log
    assert token not in log
    assert token.rpartition(".")[2] not in log
    assert "The turn ended well" in log
    assert "INVALID_JSON" in log


def test_the_functions_print_lines_and_metrics_that_name_the_same_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line and one set of metrics for a turn, each whole."""
    monkeypatch.setenv("COACHSTREAM_LOG_FORMAT", "json")
    monkeypatch.setenv("COACHSTREAM_METRICS_NAMESPACE", "Test")
    with serving(tmp_path / "data", "--model-delay", "0") as server:
        ready = server.ready
        conversation = create_conversation(ready)
        told = httpx.post(
            ready.stream(conversation),
            headers=ready.headers,
            json={"userResponse": "Hello"},
            timeout=PATIENCE_S,
        )
        assert '"type":"complete"' in told.text
        server.stop()
    documents: list[dict[str, Any]] = [
        json.loads(line[line.index("{") :])
        for line in (tmp_path / "serve.log").read_text().splitlines()
        if line.rstrip().endswith("}")
    ]
    [turn] = [document for document in documents if "turn_ms" in document]
    [metrics] = [document for document in documents if "TurnDuration" in document]
    assert turn["function_request_id"] == metrics["request_id"]
    assert turn["xray_trace_id"] == metrics["xray_trace_id"]
    assert (turn["outcome"], turn["conversation_id"]) == ("ok", conversation)
    assert metrics["TurnDuration"] == [turn["turn_ms"]]
    assert metrics["Chunks"] == [turn["chunks"]]
    assert metrics["TimeToStart"] == [turn["time_to_start_ms"]]
    assert 0 <= turn["time_to_start_ms"] <= turn["total_ms"]
