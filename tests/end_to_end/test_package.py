"""The package, unzipped, and nothing else of the checkout, behind the emulator: all three functions."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.aws_stack import KEY, AwsStack, aws_stack
from support.emulating import Emulating, emulating
from support.lambda_package import lambda_package

__all__ = ["lambda_package"]

pytestmark = pytest.mark.timeout(300)

WITHIN_S = 60.0
CONVERSATIONS = f"users/{KEY.user_id}/coaches/{KEY.coach_id}/conversations"
QUESTION = "How was my week?"


@pytest.fixture
async def stack(
    dynamodb_local_url: str,
    moto_url: str,
    aws_credentials: None,  # noqa: ARG001 (the environment of all of it)
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[AwsStack]:
    """DynamoDB, Bedrock, Cognito and Pinecone on this machine; what is started inherits where they are."""
    async with aws_stack(dynamodb_local_url, moto_url) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        # Imports and first requests share a machine with many other tests.
        monkeypatch.setenv("COACHSTREAM_RECALL_TIMEOUT_S", "10")
        monkeypatch.setenv("COACHSTREAM_MODEL_STALL_S", "20")
        yield running


@contextmanager
def deployed(package: Path, folder: Path, function: str) -> Iterator[Emulating]:
    """A function as Lambda starts it: the exec-wrapper of the package, in place of the stock bootstrap."""
    task = package.parent / "task"
    command = (
        *("env", "-u", "PYTHONPATH", f"LAMBDA_TASK_ROOT={task}"),
        f"_HANDLER=coachstream.functions.{function}.handler.handler",
        # Without `site`, the interpreter knows its standard library and nothing of any environment.
        *(str(task / "lambda_streaming" / "exec-wrapper"), sys.executable, "-S", "/var/runtime/bootstrap.py"),
    )
    with emulating(folder, "--timeout", "60", "--", *command) as emulator:
        yield emulator


def asking(emulator: Emulating, token: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=emulator.url, headers=headers, timeout=WITHIN_S, trust_env=False)


async def test_the_package_streams_a_whole_turn(
    stack: AwsStack, lambda_package: Path, tmp_path: Path
) -> None:
    """Token verified, context and passages loaded, message stored, model relayed, reply stored, `complete`."""
    with deployed(lambda_package, tmp_path, "stream_coach_conversation") as emulator:
        async with asking(emulator, stack.token) as client:
            path = f"{CONVERSATIONS}/{KEY.conversation_id}/stream"
            answer = await client.post(path, json={"userResponse": QUESTION})
            events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        assert (answer.status_code, events[0]["type"], events[-1]["type"]) == (200, "start", "complete"), (
            events[-1],
            emulator.log(),
        )
    text = "".join(event["content"] for event in events if event["type"] == "chunk")
    assert events[-1]["pineconeContext"]["matches"] == 2
    messages = await stack.table.store().load_messages(KEY)
    assert [message.content for message in messages] == [QUESTION, text]


async def test_the_package_answers_in_one_piece(
    stack: AwsStack, lambda_package: Path, tmp_path: Path
) -> None:
    """`send-message`, from the same zip."""
    with deployed(lambda_package, tmp_path, "send_coach_conversation_message") as emulator:
        async with asking(emulator, stack.token) as client:
            path = f"{CONVERSATIONS}/{KEY.conversation_id}/send-message"
            answer = await client.post(path, json={"userResponse": QUESTION})
        assert answer.status_code == 200, (answer.text, emulator.log())
    assert answer.json()["userResponse"]["content"] == QUESTION
    assert answer.json()["aiResponse"]["content"] != ""


async def test_the_package_keeps_conversations(stack: AwsStack, lambda_package: Path, tmp_path: Path) -> None:
    """Create, rename, list, delete, from the same zip."""
    with deployed(lambda_package, tmp_path, "coach_conversations") as emulator:
        async with asking(emulator, stack.token) as client:
            created = await client.post(CONVERSATIONS, json={"title": "Legs"})
            assert created.status_code == 201, (created.text, emulator.log())
            address = f"{CONVERSATIONS}/{created.json()['conversation']['conversationId']}"
            assert (await client.put(address, json={"title": "Arms"})).status_code == 200
            titles = [each["title"] for each in (await client.get(CONVERSATIONS)).json()["conversations"]]
            assert "Arms" in titles
            assert (await client.delete(address)).status_code == 200
