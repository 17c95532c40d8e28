"""All three functions behind the emulator, from the unzipped package and nothing else of the checkout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.aws_stack import KEY, AwsStack
from support.deployed import CONVERSATIONS, QUESTION, asking, assert_streams_a_turn, deployed
from support.emulating import Emulating
from support.lambda_package import lambda_package

__all__ = ["lambda_package"]


@contextmanager
def function(package: Path, folder: Path, name: str) -> Iterator[Emulating]:
    """Start a function as Lambda does, with the package's exec-wrapper instead of the stock bootstrap."""
    task = package.parent / "task"
    with deployed(
        folder,
        f"LAMBDA_TASK_ROOT={task}",
        f"_HANDLER=coachstream.functions.{name}.handler.handler",
        str(task / "lambda_streaming" / "exec-wrapper"),
        # Without `site`, the interpreter sees its standard library but no environment's packages.
        *(sys.executable, "-S", "/var/runtime/bootstrap.py"),
    ) as emulator:
        yield emulator


async def test_the_package_streams_a_whole_turn(
    services: AwsStack, lambda_package: Path, tmp_path: Path
) -> None:
    """The turn uses every service there is."""
    with function(lambda_package, tmp_path, "stream_coach_conversation") as emulator:
        await assert_streams_a_turn(emulator, services)


async def test_the_package_sends_a_buffered_reply(
    services: AwsStack, lambda_package: Path, tmp_path: Path
) -> None:
    """The same zip contains `send-message`."""
    with function(lambda_package, tmp_path, "send_coach_conversation_message") as emulator:
        async with asking(emulator, services.token) as client:
            path = f"{CONVERSATIONS}/{KEY.conversation_id}/send-message"
            answer = await client.post(path, json={"userResponse": QUESTION})
        assert answer.status_code == 200, (answer.text, emulator.log())
    assert answer.json()["userResponse"]["content"] == QUESTION
    assert answer.json()["aiResponse"]["content"] != ""


async def test_the_package_keeps_conversations(
    services: AwsStack, lambda_package: Path, tmp_path: Path
) -> None:
    """The same zip creates, renames, lists and deletes conversations."""
    with function(lambda_package, tmp_path, "coach_conversations") as emulator:
        async with asking(emulator, services.token) as client:
            created = await client.post(CONVERSATIONS, json={"title": "Legs"})
            assert created.status_code == 201, (created.text, emulator.log())
            address = f"{CONVERSATIONS}/{created.json()['conversation']['conversationId']}"
            assert (await client.put(address, json={"title": "Arms"})).status_code == 200
            titles = [each["title"] for each in (await client.get(CONVERSATIONS)).json()["conversations"]]
            assert "Arms" in titles
            assert (await client.delete(address)).status_code == 200
