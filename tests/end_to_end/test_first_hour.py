"""A newcomer's first hour: the README's commands in order in real terminals, and common mistakes."""

from __future__ import annotations

import re
import socket
import sqlite3
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from coachstream.identity.local_issuer import LocalIssuer
from coachstream.local.demo.seed import USER_ID
from support.places import ROOT
from support.terminal import CTRL_C, CTRL_D, Terminal

README = (ROOT / "README.md").read_text()


def readme(command: str) -> str:
    """Return a command that the README must show, as a line of a code block or as inline code."""
    fenced = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    lines = {
        line.partition("#")[0].strip() for block in fenced.findall(README) for line in block.splitlines()
    }
    spans = set(re.findall(r"`([^`]+)`", fenced.sub("", README)))
    assert command in lines | spans, f"the README does not show {command!r}"
    return command


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout in a folder with a space in its name, with everything installed."""
    folder = tmp_path / "my project"
    (folder / ".venv").mkdir(parents=True)
    for name in ("Makefile", "README.md", "pyproject.toml", "requirements", "packages"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
    (folder / ".venv" / "run.installed").touch()
    return folder


def serve(terminal: Terminal, arguments: str = "") -> tuple[str, str]:
    """Start the server with the README's command; return its address and the command it prints."""
    assert readme("make serve")
    terminal.type(f'make serve ARGS="--port 0 {arguments}"')
    url = terminal.expect(r"Your coach is at  (http://127\.0\.0\.1:\d+/)")[1]
    curl = terminal.expect(r"(?s)(curl -N .*?)\n\n")[1]
    terminal.expect(r"Ctrl-C stops the server\.")
    return url, curl


def stop(terminal: Terminal) -> None:
    """Stop the server with Ctrl-C, as its output suggests."""
    terminal.press(CTRL_C)
    terminal.expect(r"Stopped\. Your conversations are kept\.")
    terminal.expect(r"\$ ")
    assert terminal.run("true")[0] == 0


def test_the_readmes_commands_in_order_lead_through_the_first_hour(project: Path) -> None:
    """Serve, run the printed command, chat, get a token, press Ctrl-C; a second run still has all data."""
    with Terminal(project) as first, Terminal(project) as second:
        _, curl = serve(first)
        status, shown = second.run(curl)
        assert status == 0
        assert '"type":"complete"' in shown
        assert "107.5 kg" in shown

        second.type(readme(".venv/bin/coachstream chat"))
        second.expect(r"^you> ")
        second.type("What should I squat today?")
        second.expect(r"the next step is 110 kg")
        second.expect(r"^you> ")
        second.type("How do I get more pull-ups?")
        second.expect(r"Mara Lindqvist:\n\S+")
        second.press(CTRL_C)
        second.expect(r"Stopped\. The reply so far is kept\.")
        second.expect(r"^you> ")
        second.press(CTRL_D)
        second.expect(r"See you next time\.")
        second.expect(r"\$ ")

        status, shown = second.run(readme(".venv/bin/coachstream token"))
        assert status == 0
        assert re.search(r"^eyJ[\w-]+\.[\w-]+\.[\w-]+$", shown, re.MULTILINE)
        status, shown = second.run(readme(".venv/bin/coachstream check"))
        assert status == 1
        assert "COACHSTREAM_STORE is not set" in shown
        assert "`coachstream serve` needs none" in shown
        assert second.run(".venv/bin/coachstream check --model demo")[0] == 0
        stop(first)

        serve(first)
        status, shown = second.run(".venv/bin/coachstream chat --history")
        assert status == 0
        assert "What should I squat today?" in shown
        stop(first)
    assert (project / ".coachstream").is_dir()


def test_the_log_of_a_start_holds_nothing_that_looks_like_an_error(project: Path) -> None:
    """Up to the address, no line is a warning, a refusal or an invocation."""
    with Terminal(project) as terminal:
        terminal.type('make serve ARGS="--port 0"')
        start = terminal.expect(r"(?s)(.*)Your coach is at")[1]
        assert not re.search(r"WARNING|ERROR|MISSING_AUTH_HEADER|REPORT|Traceback", start), start
        stop(terminal)


def test_two_servers_with_the_same_data_are_both_found(project: Path) -> None:
    """The chat asks which one to use; once one has stopped, it picks the other without asking."""
    with Terminal(project) as first, Terminal(project) as second, Terminal(project) as third:
        older, _ = serve(first, "--in-process")
        port = older.rpartition(":")[2].strip("/")
        status, shown = second.run(f'make serve ARGS="--port {port}"')
        assert status != 0
        assert f"Port {port} is in use." in shown
        assert f"{older} already serves the same data." in " ".join(shown.split())
        newer, _ = serve(second, "--in-process")
        third.type(readme(".venv/bin/coachstream chat"))
        third.expect(rf"1  {re.escape(newer)}")
        third.expect(rf"2  {re.escape(older)}")
        third.expect(r"Which server\?")
        third.type("2")
        third.expect(r"^you> ")
        third.press(CTRL_D)
        third.expect(r"See you next time\.")
        status, shown = third.run('.venv/bin/coachstream chat -m "Hi!" < /dev/null')
        assert status == 1
        assert f"{newer} and {older}. Choose one with --url." in " ".join(shown.split())
        stop(second)
        status, shown = third.run('.venv/bin/coachstream chat -m "Hi!"')
        assert status == 0
        assert "Mara Lindqvist:" in shown
        stop(first)


def test_each_mistake_in_a_request_has_its_own_error_message(project: Path) -> None:
    """These are the mistakes people make when they edit the printed command."""
    with Terminal(project) as server, Terminal(project) as client:
        url, curl = serve(server, "--in-process")
        expired = LocalIssuer(project / ".coachstream").issue(USER_ID, lifetime=timedelta(hours=-1)).token
        token = re.search(r"Bearer ([\w.-]+)", curl)
        assert token is not None
        asked = {
            curl.replace(token[1], expired): "TOKEN_EXPIRED",
            curl.replace(token[1], token[1][:-9]): "INVALID",
            curl.replace("-H 'Authorization: Bearer", "-H 'X-Authorization: Bearer"): "MISSING_AUTH_HEADER",
            curl.replace("/stream ", "/steam "): "MISSING_PATH_PARAMS",
            curl.replace("userResponse", "userRespnse"): '"code":"',
            curl.replace("curl -N", "curl"): '"type":"complete"',
            curl.replace("  -H 'Content-Type: application/json' \\\n", ""): '"type":"complete"',
        }
        for command, answered in asked.items():
            assert command != curl
            status, shown = client.run(command)
            assert status == 0, shown
            assert answered in shown, command
        stop(server)
        status, shown = client.run(curl)
        assert status != 0
        assert "connect" in shown
        assert url not in client.run(".venv/bin/coachstream chat -m Hi")[1]


def test_each_startup_mistake_is_reported_in_one_sentence_with_a_remedy(
    project: Path, tmp_path: Path
) -> None:
    """Each is refused before anything is changed, so the next attempt works."""
    with socket.create_server(("127.0.0.1", 0)) as taken, Terminal(project) as terminal:
        port = taken.getsockname()[1]
        newer = project / "newer"
        newer.mkdir()
        with closing(sqlite3.connect(newer / "conversations.db")) as database:
            database.execute("PRAGMA user_version = 999")
        mistakes = {
            ".venv/bin/coachstream chat": "No server is running here, and there is no folder .coachstream.",
            ".venv/bin/coachstream token": "There is no local issuer in .coachstream",
            f'make serve ARGS="--port {port}"': f"Port {port} is in use.",
            'make serve ARGS="--port 80000"': "80000 is more than 65535.",
            'make serve ARGS="--model gpt"': "'gpt' is not one of 'demo', 'bedrock'.",
            'make serve ARGS="--host 192.0.2.1"': "192.0.2.1 is not an address of this machine.",
            'make serve ARGS="--data README.md --port 0"': "'README.md' is a file.",
            'make serve ARGS="--data newer --port 0"': "was written by a newer version of coachstream",
            ".venv/bin/coachstream package --output dsit/c.zip": "The folder dsit for c.zip does not exist.",
            'COACHSTREAM_STOER=dynamodb make serve ARGS="--port 0"': "did you mean COACHSTREAM_STORE?",
            'make serve ARGS="--model bedrock --port 0" AWS_REGION=': "No AWS region is set.",
            "make sevre": "There is no target sevre.",
            ".venv/bin/coachstream chat --url http://127.0.0.1:1/": "There is no server at http://127.0.0.1:1/.",
        }
        for command, sentence in mistakes.items():
            status, shown = terminal.run(command)
            assert status != 0, command
            assert sentence in " ".join(shown.split()), command
            assert "Traceback" not in shown, shown
        assert not (project / ".coachstream").exists()
        assert not (project / "dsit").exists()
        with Terminal(tmp_path) as elsewhere:
            elsewhere.type('make -C "my project" serve ARGS="--port 0 --in-process"')
            elsewhere.expect(r"Your coach is at")
            elsewhere.expect(r"Ctrl-C stops the server\.")
            stop(elsewhere)
