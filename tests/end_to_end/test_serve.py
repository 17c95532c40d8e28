"""The whole service from outside: real processes, real HTTP, the README's own tools."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import httpx
import msgspec
import pytest

from coachstream.local.demo.seed import USER_ID
from support.bedrock_server import bedrock_server_process
from support.elsewhere import coachstream, elsewhere
from support.serving import Ready, Serving, create_conversation, serving, stored_messages

TIMEOUT = httpx.Timeout(30)
LEASE_S = 15
#: Slow enough that a burst at the end cannot be taken for a stream.
PACE = ("--model-delay", "0.02")


class Arrival(msgspec.Struct, frozen=True):
    """One event and when it arrived, in seconds since the request was sent."""

    at: float
    event: dict[str, object]


@pytest.fixture(scope="module", params=["on this machine", "at AWS and Pinecone"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """All parts embedded; and none: DynamoDB Local, moto's Cognito, test servers of Bedrock and Pinecone."""
    data = tmp_path_factory.mktemp("serve") / "data"
    if request.param == "on this machine":
        with serving(data, *PACE) as running:
            yield running
        return
    moto_url, dynamodb_url = map(request.getfixturevalue, ("moto_url", "dynamodb_local_url"))
    with elsewhere(moto_url) as servers, bedrock_server_process(delta_pause_s=0.2) as bedrock:
        environment = {
            **servers.environment,
            "AWS_ENDPOINT_URL_DYNAMODB": dynamodb_url,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock,
        }
        made = coachstream("table", "create", environment=environment)
        assert made.returncode == 0, made.stderr
        servers.pool.add_user("demo", USER_ID)
        token = servers.pool.sign_in("demo").id
        # Warm, because what twenty environments load at once takes longer here than a reply.
        options = ("--demo-data", "--warm", "20")
        with serving(data, *options, environment=environment, token=token) as running:
            yield running


def _arrivals(lines: Iterable[str], sent: float) -> Iterator[Arrival]:
    for line in lines:
        if line.startswith("data: "):
            yield Arrival(time.monotonic() - sent, json.loads(line[6:]))


def _ask(ready: Ready, conversation_id: str, text: str) -> list[Arrival]:
    sent = time.monotonic()
    with httpx.stream(
        "POST",
        ready.stream(conversation_id),
        headers=ready.headers,
        json={"userResponse": text},
        timeout=TIMEOUT,
    ) as response:
        assert response.status_code == httpx.codes.OK, response.read()
        return list(_arrivals(response.iter_lines(), sent))


def _text(arrivals: list[Arrival]) -> str:
    return "".join(str(a.event["content"]) for a in arrivals if a.event["type"] == "chunk")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_receives_start_at_once_and_then_chunks_spread_over_time(server: Serving) -> None:
    """`curl -N` shows `start` before the model has said a word, and the words one after the other."""
    ready = server.ready
    conversation = create_conversation(ready)
    command = ["curl", "-sSN", "-X", "POST", ready.stream(conversation)]
    for name, value in ready.headers.items():
        command += ["-H", f"{name}: {value}"]
    command += ["--data", json.dumps({"userResponse": "How was my week?"})]
    _ask(ready, conversation, "Warm the environment up")

    sent = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
        assert curl.stdout is not None
        arrivals = list(_arrivals(curl.stdout, sent))
    assert curl.returncode == 0

    kinds = [arrival.event["type"] for arrival in arrivals]
    chunks = [arrival.at for arrival in arrivals if arrival.event["type"] == "chunk"]
    assert kinds == ["start", *["chunk"] * len(chunks), "complete"]
    assert arrivals[0].at < chunks[0] < chunks[-1]
    spread = chunks[-1] - chunks[0]
    assert spread > 0.5 * 0.02 * len(chunks), "the chunks came in one burst"
    middle = [at for at in chunks if chunks[0] + spread / 4 < at < chunks[-1] - spread / 4]
    assert len(middle) > len(chunks) / 4, "the chunks came in two bursts"
    complete = arrivals[-1].event
    assert isinstance(complete["aiMessage"], dict)
    assert complete["aiMessage"]["content"] == _text(arrivals)


def test_twenty_conversations_stream_at_once_in_twenty_environments(server: Serving) -> None:
    """Twenty people are answered at the same time, each with their own reply, none after another."""
    ready = server.ready
    conversations = [create_conversation(ready) for _ in range(20)]
    together = Barrier(len(conversations))

    def ask(number: int) -> list[Arrival]:
        together.wait(30)
        began = time.monotonic()
        return [
            Arrival(began + arrival.at, arrival.event)
            for arrival in _ask(ready, conversations[number], f"Question number {number} of many")
        ]

    with ThreadPoolExecutor(len(conversations)) as pool:
        everyone = list(pool.map(ask, range(len(conversations))))

    for number, arrivals in enumerate(everyone):
        assert [arrivals[0].event["type"], arrivals[-1].event["type"]] == ["start", "complete"]
        saved = stored_messages(ready, conversations[number])
        assert [message["content"] for message in saved] == [
            f"Question number {number} of many",
            _text(arrivals),
        ]
    assert max(arrivals[0].at for arrivals in everyone) < min(arrivals[-1].at for arrivals in everyone), (
        "some waited for others to end"
    )


def test_a_worker_killed_in_mid_answer_ends_the_stream_and_loses_nothing(server: Serving) -> None:
    """SIGKILL breaks the stream off visibly; the question is stored and the next request is answered."""
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
        # With the third chunk something of the reply is stored.
        for _ in range(3):
            next(line for line in lines if '"type":"chunk"' in line)
        _kill_workers(server)
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)

    assert [message["content"] for message in stored_messages(ready, conversation)] == ["Tell me everything"]
    arrivals = _ask_when_free(ready, conversation, "Are you still there?")
    assert arrivals[-1].event["type"] == "complete"
    _, partial, _, reply = stored_messages(ready, conversation)
    assert partial["metadata"]["stopReason"] == "interrupted"
    assert partial["content"]
    assert reply["metadata"]["stopReason"] == "end_turn"


def _ask_when_free(ready: Ready, conversation_id: str, text: str) -> list[Arrival]:
    """Ask until the dead turn's lease has run out; a lock of this machine's is free at once."""
    gives_up_at = time.monotonic() + LEASE_S + 10
    while True:
        arrivals = _ask(ready, conversation_id, text)
        if arrivals[-1].event.get("code") != "TURN_IN_PROGRESS" or time.monotonic() > gives_up_at:
            return arrivals
        time.sleep(0.5)


def _kill_workers(server: Serving) -> None:
    workers = [process for process in server.processes() if process != server.process.pid]
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("mode", ["environments", "in-process"])
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process_and_keeps_the_data(
    tmp_path: Path, mode: str, sign: signal.Signals
) -> None:
    """Stopped in the middle of an answer, it exits with 0 and leaves no child; the data is there."""
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
            next(line for line in response.iter_lines() if '"type":"chunk"' in line)
            assert first.stop(sign) == 0
        assert first.processes() == []
    with serving(tmp_path / "data", *options) as second:
        messages = stored_messages(second.ready, conversation)
        assert messages[0]["content"] == question
        assert second.ready.conversation_id == first.ready.conversation_id
        assert second.ready.user_id == first.ready.user_id
