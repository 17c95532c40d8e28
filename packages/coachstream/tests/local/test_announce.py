from __future__ import annotations

import io
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import msgspec
import pytest

from coachstream.local.announce import (
    Announcer,
    JsonAnnouncer,
    Parts,
    ServeReady,
    TerminalAnnouncer,
    chat_command,
    curl_command,
)
from coachstream.settings import IdentityProvider, Model, Recall, Store

READY = ServeReady(
    url="http://127.0.0.1:1/",
    stream_url="http://127.0.0.1:1/",
    conversations_url="http://127.0.0.1:1/",
    token="a.b.c",
    user_id="demo-it's",
    coach_id="c1",
    conversation_id="conv1",
)


def test_a_program_reads_one_json_object_a_line() -> None:
    """The first line has everything a program needs; the last one reports the end."""
    out = io.StringIO()
    announcer = JsonAnnouncer(out)
    announcer.ready(READY, Path("data"))
    announcer.stopping()
    announcer.stopped()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines == [
        {
            "event": "ready",
            "url": "http://127.0.0.1:1/",
            "streamUrl": "http://127.0.0.1:1/",
            "conversationsUrl": "http://127.0.0.1:1/",
            "token": "a.b.c",
            "userId": "demo-it's",
            "coachId": "c1",
            "conversationId": "conv1",
        },
        {"event": "stopping"},
        {"event": "stopped"},
    ]


def test_a_person_reads_the_address_the_command_and_how_to_stop() -> None:
    """No line is wrapped, so that it can be copied."""
    out = io.StringIO()
    TerminalAnnouncer(out).ready(READY, Path("data"))
    shown = out.getvalue()
    assert "http://127.0.0.1:1/\n" in shown
    assert "Ctrl-C" in shown
    assert curl_command(READY) in shown


def test_a_person_reads_which_parts_are_real_and_where_tokens_come_from() -> None:
    """If a user pool issues the tokens, there is no command to paste; all other parts are the demo's."""
    out = io.StringIO()
    parts = Parts(Store.DYNAMODB, Model.DEMO, Recall.SQLITE, IdentityProvider.COGNITO)
    nobody = msgspec.structs.replace(
        READY, token=None, user_id=None, coach_id=None, conversation_id=None, parts=parts
    )
    TerminalAnnouncer(out).ready(nobody, Path("data"))
    shown = out.getvalue()
    assert "Real services:    dynamodb, cognito\n" in shown
    assert "--token ID_TOKEN" in shown
    assert "curl" not in shown


def test_without_a_conversation_there_is_no_command_to_paste() -> None:
    """For a user of a real table without a conversation, the terminal chat creates one."""
    out = io.StringIO()
    TerminalAnnouncer(out).ready(msgspec.structs.replace(READY, conversation_id=None), Path("data"))
    assert "In the terminal:" in out.getvalue()
    assert "curl" not in out.getvalue()


def test_the_chat_command_names_the_folder_unless_it_is_the_default_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works as printed, even from a virtual environment that is not active."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv/bin/coachstream")])
    assert chat_command(tmp_path / ".coachstream") == ".venv/bin/coachstream chat"
    assert chat_command(tmp_path / "my data") == ".venv/bin/coachstream chat --data 'my data'"


def test_the_curl_command_survives_a_shell() -> None:
    """A shell parses quotes, spaces and line ends into the arguments that curl needs."""
    words = shlex.split(curl_command(READY).replace("\\\n", ""))
    assert words == [
        "curl",
        "-N",
        "-X",
        "POST",
        "http://127.0.0.1:1/users/demo-it's/coaches/c1/conversations/conv1/stream",
        "-H",
        "Authorization: Bearer a.b.c",
        "-H",
        "Content-Type: application/json",
        "-d",
        '{"userResponse": "How was my week?"}',
    ]


@pytest.mark.parametrize("kind", [JsonAnnouncer, TerminalAnnouncer])
def test_a_reader_that_left_does_not_stop_the_server(kind: Callable[[TextIO], Announcer]) -> None:
    """`coachstream serve | head -1` continues to serve."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "w", buffering=1) as out:  # noqa: PTH123 (a file descriptor)
        announcer = kind(out)
        announcer.stopping()
        announcer.stopped()
