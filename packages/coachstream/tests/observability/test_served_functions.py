"""The log of the real functions, served as a user would serve them."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from coachstream.web.sse import SseReader
from support.elsewhere import CREDENTIALS, WITHOUT_AWS, aws_endpoint, coachstream
from support.patience import PATIENCE_S
from support.serving import Serving, create_conversation, serving

SECRET = "my-knee-hurts-" + "q7" * 8


@pytest.mark.parametrize("options", [(), ("--in-process",)])
def test_no_secret_of_a_run_is_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """Messages, replies, tokens, headers and paths, with every logger at DEBUG."""
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


@pytest.mark.parametrize("options", [(), ("--in-process",)])
def test_no_service_that_fails_is_quoted_in_the_log(tmp_path: Path, options: tuple[str, ...]) -> None:
    """The model, the semantic search, its secret and a hand-off each echo the request in their error."""
    with aws_endpoint(status=400, code="ValidationException") as endpoint:
        endpoint.words = f"1 validation error: {SECRET}"
        environment = {
            **WITHOUT_AWS,
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": endpoint.url,
            "COACHSTREAM_LOG_LEVEL": "debug",
            "BUILD_WORKOUT_FUNCTION_NAME": "build-workout",
            "PINECONE_API_KEY_SECRET_ARN": "arn:aws:secretsmanager:us-west-2:123456789012:secret:pinecone",
            "PINECONE_INDEX_HOST": endpoint.url,
        }
        parts = ("--model", "bedrock", "--recall", "pinecone")
        with serving(tmp_path / "data", *parts, *options, environment=environment) as server:
            told = ask(server, f"/log-workout {SECRET}")
            server.stop()
    log = (tmp_path / "serve.log").read_text()
    assert told[-1]["type"] == "error"
    assert SECRET not in json.dumps(told[-1])
    assert any("/converse-stream" in path for path in endpoint.requests)
    assert "ValidationException" in log
    assert SECRET not in log


@pytest.mark.parametrize("options", [(), ("--in-process",)])
@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("conversations.db", "UPDATE messages SET content = CAST(? || x'ff' AS TEXT)"),
        ("conversations.db", "UPDATE memories SET attributes = '[\"' || ? || '\"]'"),
        ("recall.db", "UPDATE records SET title = CAST(? || x'ff' AS TEXT)"),
    ],
    ids=["message", "memory", "passage"],
)
def test_no_damaged_record_is_quoted_in_the_log(
    tmp_path: Path, options: tuple[str, ...], file: str, damage: str
) -> None:
    """For any record that a store cannot decode, the log names only the damaged file."""
    with serving(tmp_path / "data", "--model-delay", "0", *options) as server:
        with closing(sqlite3.connect(tmp_path / "data" / file)) as database, database:
            database.execute("DROP TRIGGER IF EXISTS record_changed")
            database.execute(damage, (SECRET,))
        told = ask(server, "How was my squat week?", conversation=server.ready.conversation_id)
        server.stop()
    log = (tmp_path / "serve.log").read_text()
    assert SECRET not in json.dumps(told)
    assert SECRET not in log
    assert "Traceback" not in log
    assert "STORAGE_UNAVAILABLE" in log


def test_no_damaged_record_is_quoted_at_the_start(tmp_path: Path) -> None:
    """A coach's record that cannot be decoded ends the program with one sentence."""
    with serving(tmp_path / "data", "--in-process") as server:
        server.stop()
    with closing(sqlite3.connect(tmp_path / "data" / "conversations.db")) as database, database:
        database.execute("UPDATE coaches SET attributes = CAST(? || x'ff' AS TEXT)", (SECRET,))
    refused = coachstream(
        "serve", "--port", "0", "--data", str(tmp_path / "data"), "--in-process", environment=WITHOUT_AWS
    )
    assert refused.returncode == 1
    assert "conversations.db is not a database, or is damaged" in refused.stderr
    assert SECRET not in refused.stderr + refused.stdout


def test_a_store_that_refuses_is_not_quoted_at_the_start(tmp_path: Path) -> None:
    """DynamoDB's message may quote an item."""
    with aws_endpoint(status=400, code="ValidationException") as endpoint:
        endpoint.words = f"1 validation error: {SECRET}"
        environment = {
            **WITHOUT_AWS,
            **CREDENTIALS,
            "AWS_ENDPOINT_URL": endpoint.url,
            "DYNAMODB_TABLE_NAME": "coaches",
        }
        refused = coachstream(
            *("serve", "--port", "0", "--data", str(tmp_path / "data"), "--store", "dynamodb"),
            "--demo-data",
            environment=environment,
        )
    assert refused.returncode == 1
    assert "ValidationException" in refused.stderr
    assert SECRET not in refused.stderr + refused.stdout


def test_every_file_of_a_run_is_private_to_its_owner(tmp_path: Path) -> None:
    """Under any umask and in an existing folder: conversations, keys, state and locks."""
    (tmp_path / "data").mkdir(0o755)
    former = os.umask(0)
    try:
        with serving(tmp_path / "data", "--model-delay", "0") as server:
            ask(server, "/save-memory I hate burpees")
            modes = {
                entry.name: oct(stat.S_IMODE(entry.stat().st_mode)) for entry in (tmp_path / "data").iterdir()
            }
    finally:
        os.umask(former)
    assert {"conversations.db", "conversations.db-wal", "recall.db", "issuer-key.pem"} <= modes.keys()
    assert set(modes.values()) == {"0o600"}, modes


def ask(server: Serving, text: str, *, conversation: str | None = None) -> list[dict[str, Any]]:
    """The events of a reply."""
    ready = server.ready
    response = httpx.post(
        ready.stream(conversation or create_conversation(ready)),
        headers=ready.headers,
        json={"userResponse": text},
        timeout=PATIENCE_S,
    )
    return [json.loads(data) for data in SseReader().feed(response.content)]


def lines_with(log: Path, *words: str) -> list[str]:
    """The lines of a log, once each of these words is in a complete line."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        *lines, _ = log.read_text().split("\n")
        if all(any(word in line for line in lines) for word in words):
            return lines
        assert time.monotonic() < ends, lines
        time.sleep(0.02)


def test_the_functions_print_lines_and_metrics_that_name_the_same_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn has one line and one set of metrics, both complete."""
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
        # The function writes both after its response, and may be stopped before it does.
        lines = lines_with(tmp_path / "serve.log", '"turn_ms"', '"TurnDuration"')
        server.stop()
    documents: list[dict[str, Any]] = [
        json.loads(line[line.index("{") :]) for line in lines if line.rstrip().endswith("}")
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
