"""The whole service from the outside: real processes, real HTTP, the README's own tools."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from coachstream.local.demo.seed import USER_ID
from support.bedrock_server import SteeredBedrock, bedrock_server_process, steered_bedrock
from support.elsewhere import CREDENTIALS, WITHOUT_AWS, coachstream, elsewhere
from support.patience import PATIENCE_S, PATIENT
from support.serving import Ready, Serving, create_conversation, serving, stored_messages

TIMEOUT = httpx.Timeout(PATIENCE_S)
AT_ONCE = 8
"""The number of concurrent users, each in a separate execution environment."""
#: Slow enough for a test to act during a reply.
PACE = ("--model-delay", "0.02")


Event = dict[str, Any]


@contextmanager
def _served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bedrock: str, *options: str
) -> Iterator[Serving]:
    """Everything but the model embedded, or nothing: DynamoDB Local, moto's Cognito, a Pinecone server."""
    data = tmp_path_factory.mktemp("serve") / "data"
    # A model that the test holds back must not count as stalled.
    patient = {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock, **PATIENT}
    if request.param == "on this machine":
        environment = {**os.environ, **CREDENTIALS, **patient}
        with serving(data, "--model", "bedrock", *options, environment=environment) as running:
            yield running
        return
    moto_url, dynamodb_url = map(request.getfixturevalue, ("moto_url", "dynamodb_local_url"))
    with elsewhere(moto_url, dynamodb_url) as servers:
        environment = {**servers.environment, **patient}
        made = coachstream("table", "create", environment=environment)
        assert made.returncode == 0, made.stderr
        servers.pool.add_user("demo", USER_ID)
        token = servers.pool.sign_in("demo").id
        with serving(data, "--demo-data", *options, environment=environment, token=token) as running:
            yield running


PARTS = ["on this machine", "at AWS and Pinecone"]


@pytest.fixture(scope="module", params=PARTS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server whose model is a test server with a fixed pace."""
    with (
        bedrock_server_process(delta_pause_s=0.2) as bedrock,
        _served(request, tmp_path_factory, bedrock) as running,
    ):
        yield running


class Steered(msgspec.Struct, frozen=True):
    """A server and its model, which the test controls."""

    server: Serving
    model: SteeredBedrock


@pytest.fixture(scope="module", params=PARTS)
def steered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steered]:
    """The model sends words when the test releases them, however long its environments take to start."""
    with (
        steered_bedrock() as model,
        _served(request, tmp_path_factory, model.url, "--warm", str(AT_ONCE), "--timeout", "600") as running,
    ):
        yield Steered(running, model)


def _events(lines: Iterable[str]) -> Iterator[Event]:
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line[6:])


def _ask(ready: Ready, conversation_id: str, text: str) -> list[Event]:
    with httpx.stream(
        "POST",
        ready.stream(conversation_id),
        headers=ready.headers,
        json={"userResponse": text},
        timeout=TIMEOUT,
    ) as response:
        assert response.status_code == httpx.codes.OK, response.read()
        return list(_events(response.iter_lines()))


def _text(events: list[Event]) -> str:
    return "".join(str(event["content"]) for event in events if event["type"] == "chunk")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_receives_start_before_the_model_speaks_and_each_word_before_the_next(steered: Steered) -> None:
    """`curl -N` shows the text so far while the model still holds back the rest."""
    ready = steered.server.ready
    words = ["It ", "was ", "a ", "good ", "week."]
    speaking = steered.model.reply_in_steps(*words)
    command = ["curl", "-sSN", "-X", "POST", ready.stream(create_conversation(ready))]
    for name, value in ready.headers.items():
        command += ["-H", f"{name}: {value}"]
    command += ["--data", json.dumps({"userResponse": "How was my week?"})]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        assert curl.stdout is not None
        events = _events(curl.stdout)
        seen = [next(events)]
        assert [event["type"] for event in seen] == ["start"]
        for number, _ in enumerate(speaking, 1):
            while _text(seen) != "".join(words[:number]):
                seen.append(next(events))
        seen.extend(events)
    assert curl.returncode == 0
    complete = seen[-1]
    assert complete["type"] == "complete"
    assert complete["aiMessage"]["content"] == _text(seen)


def _load_what_a_turn_needs(steered: Steered, environments: int) -> None:
    """Let each environment import, connect and fetch keys; under load this can make a first turn fail."""
    ready = steered.server.ready
    list(steered.model.reply_in_steps("Ready."))
    with ThreadPoolExecutor(environments) as pool:
        for _ in range(environments):
            pool.submit(_ask, ready, create_conversation(ready), "Warm up")


def test_conversations_stream_at_once_each_in_its_own_environment(steered: Steered) -> None:
    """All replies are streamed at the same time, each to its own conversation."""
    ready = steered.server.ready
    conversations = [create_conversation(ready) for _ in range(AT_ONCE)]
    _load_what_a_turn_needs(steered, len(conversations))
    steered.model.forget_requests()
    speaking = steered.model.reply_in_steps("All ", "at once.")

    def ask(number: int) -> list[Event]:
        return _ask(ready, conversations[number], f"Question number {number} of many")

    with ThreadPoolExecutor(len(conversations)) as pool:
        everyone = [pool.submit(ask, number) for number in range(len(conversations))]
        # None of them can end before the model has been called for all.
        steered.model.wait_for_requests(len(conversations))
        assert not any(asked.done() for asked in everyone)
        list(speaking)

    for number, asked in enumerate(everyone):
        events = asked.result()
        assert [events[0]["type"], events[-1]["type"]] == ["start", "complete"], events[-1]
        saved = stored_messages(ready, conversations[number])
        assert [message["content"] for message in saved] == [
            f"Question number {number} of many",
            _text(events),
        ]


def test_a_worker_killed_mid_reply_ends_the_stream_and_loses_nothing(server: Serving) -> None:
    """SIGKILL visibly truncates the stream; the question is stored, and the next request gets a reply."""
    ready = server.ready
    conversation = create_conversation(ready)
    with httpx.stream(
        "POST",
        ready.stream(conversation),
        headers=ready.headers,
        json={"userResponse": "Tell me everything"},
        timeout=TIMEOUT,
    ) as response:
        lines = response.iter_lines()
        # By the third chunk part of the reply is stored.
        for _ in range(3):
            next(line for line in lines if '"type":"chunk"' in line)
        _kill_workers(server)
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)

    assert [message["content"] for message in stored_messages(ready, conversation)] == ["Tell me everything"]
    events = _ask_when_free(ready, conversation, "Are you still there?")
    assert events[-1]["type"] == "complete"
    _, partial, _, reply = stored_messages(ready, conversation)
    assert partial["metadata"]["stopReason"] == "interrupted"
    assert partial["content"]
    assert reply["metadata"]["stopReason"] == "end_turn"


def _ask_when_free(ready: Ready, conversation_id: str, text: str) -> list[Event]:
    """Retry until the dead turn's lease has expired; a local lock is free at once."""
    gives_up_at = time.monotonic() + PATIENCE_S
    while True:
        events = _ask(ready, conversation_id, text)
        if events[-1].get("code") != "TURN_IN_PROGRESS" or time.monotonic() > gives_up_at:
            return events
        time.sleep(0.5)


def _kill_workers(server: Serving) -> None:
    """Kill all execution environments, and wait until the emulator, which reaps them, has noticed."""
    environments = [
        process for process in server.processes() if b"coachstream.functions" in _command(process)
    ]
    assert environments
    for process in environments:
        os.kill(process, signal.SIGKILL)
    gives_up_at = time.monotonic() + PATIENCE_S
    while any(Path(f"/proc/{process}").exists() for process in environments):
        assert time.monotonic() < gives_up_at, "a killed process is not reaped"
        time.sleep(0.01)


def _command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


@pytest.mark.parametrize("mode", ["environments", "in-process"])
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_no_process_and_keeps_the_data(
    tmp_path: Path, mode: str, sign: signal.Signals
) -> None:
    """Stopped mid-reply, it exits with 0 and leaves no child process; the text so far is stored."""
    options = (*PACE, "--in-process") if mode == "in-process" else PACE
    with serving(tmp_path / "data", *options) as first:
        conversation = create_conversation(first.ready)
        question = "What is my plan for tomorrow?"
        with httpx.stream(
            "POST",
            first.ready.stream(conversation),
            headers=first.ready.headers,
            json={"userResponse": question},
            timeout=TIMEOUT,
        ) as response:
            said = next(event for event in _events(response.iter_lines()) if event["type"] == "chunk")
            assert first.stop(sign) == 0
        assert first.processes() == []
        assert "Traceback" not in (tmp_path / "serve.log").read_text()
    with serving(tmp_path / "data", *options) as second:
        messages = stored_messages(second.ready, conversation)
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert messages[0]["content"] == question
        assert messages[1]["content"].startswith(said["content"])
        assert messages[1]["metadata"]["stopReason"] == "interrupted"
        assert second.ready.conversation_id == first.ready.conversation_id
        assert second.ready.user_id == first.ready.user_id


@pytest.mark.parametrize("mode", ["environments", "in-process"])
@pytest.mark.timeout(2 * PATIENCE_S)
def test_an_interrupt_keeps_aws_connections_open_until_turns_are_saved(
    tmp_path: Path, dynamodb_local_url: str, mode: str
) -> None:
    """The text so far is saved to DynamoDB before the SDK's connections are closed."""
    environment = {
        **WITHOUT_AWS,
        **CREDENTIALS,
        "AWS_ENDPOINT_URL_DYNAMODB": dynamodb_local_url,
        "DYNAMODB_TABLE_NAME": f"coachstream-{uuid.uuid4().hex[:12]}",
    }
    made = coachstream("table", "create", environment=environment)
    assert made.returncode == 0, made.stderr
    options = [*PACE, "--store", "dynamodb", "--demo-data"]
    if mode == "in-process":
        options.append("--in-process")
    with serving(tmp_path / "data", *options, environment=environment) as first:
        conversation = create_conversation(first.ready)
        with httpx.stream(
            "POST",
            first.ready.stream(conversation),
            headers=first.ready.headers,
            json={"userResponse": "What is my plan for tomorrow?"},
            timeout=TIMEOUT,
        ) as response:
            said = next(event for event in _events(response.iter_lines()) if event["type"] == "chunk")
            assert first.stop() == 0
        log = (tmp_path / "serve.log").read_text()
        assert "Traceback" not in log
        assert "Unclosed" not in log
    with serving(tmp_path / "data", *options, environment=environment) as second:
        messages = stored_messages(second.ready, conversation)
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[1]["content"].startswith(said["content"])
    assert messages[1]["metadata"]["stopReason"] == "interrupted"
