"""Functions as they are deployed: started from their packaged files only, with AWS on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from support.aws_stack import KEY, AwsStack
from support.emulating import Emulating, emulating
from support.patience import PATIENCE_S

CONVERSATIONS = f"users/{KEY.user_id}/coaches/{KEY.coach_id}/conversations"
QUESTION = "How was my week?"


@contextmanager
def deployed(folder: Path, *command: str) -> Iterator[Emulating]:
    """Run a command under the emulator, without this checkout on its Python path."""
    with emulating(folder, "--timeout", "60", "--", "env", "-u", "PYTHONPATH", *command) as emulator:
        yield emulator


def asking(emulator: Emulating, token: str) -> httpx.AsyncClient:
    """An HTTP client that sends the token."""
    headers = {"authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=emulator.url, headers=headers, timeout=PATIENCE_S, trust_env=False)


async def assert_streams_a_turn(emulator: Emulating, stack: AwsStack) -> None:
    """Check a whole turn: token verified, context loaded, message stored, model relayed, reply stored."""
    async with asking(emulator, stack.token) as client:
        path = f"{CONVERSATIONS}/{KEY.conversation_id}/stream"
        response = await client.post(path, json={"userResponse": QUESTION})
    lines = response.text.splitlines()
    events: list[dict[str, Any]] = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert response.status_code == 200, (response.text, emulator.log())
    assert (events[0]["type"], events[-1]["type"]) == ("start", "complete"), (events[-1], emulator.log())
    assert events[-1]["pineconeContext"]["matches"] == 2
    text = "".join(event["content"] for event in events if event["type"] == "chunk")
    messages = await stack.table.store().load_messages(KEY)
    assert [message.content for message in messages] == [QUESTION, text]
