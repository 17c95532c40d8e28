"""The examples in the documentation work, as far as that can be tested offline and cheaply.

What cannot be run here, and what is checked instead:

- commands that need an AWS account or the network (`aws`, `npx`, `make deploy` without `--plan`, `pip`):
  their blocks are parsed by a shell, and the options of our own commands are looked up in the help;
- commands that serve until they are stopped (`make serve`, the emulator, `uvicorn`): likewise;
  `tests/test_readme.py` and `tests/end_to_end` start them;
- JavaScript that needs a page and a server: it is parsed. `tests/browser` runs the client;
- TypeScript of the Amplify guide: it is compared with an app that is compiled, in
  `packages/coachstream/tests/infrastructure/amplify`;
- the strict build of the site: `make docs`, a step of `.ci/run`, because `make test` does not install mkdocs.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import get_args

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

import lambda_streaming
from coachstream.cli.app import app
from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.ids import moment_of
from coachstream.conversation.model import (
    Conversation,
    ConversationKey,
    Message,
    MessageMetadata,
    Role,
    StopReason,
    Usage,
    format_timestamp,
)
from coachstream.conversation.run_log import Content, LogEntry, Said
from coachstream.conversation.turn.report import TurnReport
from coachstream.observability.invocation import Invocation, InvocationIds
from coachstream.observability.line import fields_of
from coachstream.observability.metrics import write_metrics
from coachstream.storage.dynamodb.items import conversation_item, message_item
from coachstream.storage.dynamodb.log_items import log_entry_item
from coachstream.web.frames import Frame
from support.emulating import emulating
from support.patience import PATIENCE_S
from support.places import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
#: Pages whose commands are not examples: help texts, and tables of variables.
GENERATED = {"reference/cli.md", "reference/settings.md"}
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)


def text_of(page: str) -> str:
    """A page's text, with the files that it includes (`pymdownx.snippets`)."""
    included = re.compile(r'^--8<-- "(.+)"\n', re.MULTILINE)
    return included.sub(lambda line: (ROOT / line[1]).read_text(), (DOCS / page).read_text())


def blocks(language: str, page: str | None = None) -> list[tuple[str, str]]:
    """The code blocks of a language, each with its page."""
    return [
        (each, textwrap.dedent(block["code"]))
        for each in (PAGES if page is None else [page])
        for block in _FENCE.finditer(text_of(each))
        if block["language"] == language
    ]


def by_page(found: list[tuple[str, str]]) -> list[object]:
    """Test parameters whose ids name the page of each block."""
    return [pytest.param(code, id=f"{page}-{number}") for number, (page, code) in enumerate(found)]


# Links.


@cache
def anchors(page: str) -> frozenset[str]:
    """The ids that Python-Markdown gives to headings and mkdocstrings to objects."""
    prose = _FENCE.sub("", text_of(page))
    found = set(re.findall(r"^::: (\S+)$", prose, re.MULTILINE))
    for heading in re.findall(r"^#{1,6} +(.*?)\s*$", prose, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        found.add(next(name for name in _numbered(slug) if name not in found))
    return frozenset(found)


def _numbered(slug: str) -> Iterator[str]:
    yield slug
    number = 0
    while True:
        number += 1
        yield f"{slug}_{number}"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_anchor_of_a_page_leads_somewhere(page: str) -> None:
    """It leads to a file in docs and a heading in it; links that leave docs would not work on the site."""
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", _FENCE.sub("", text_of(page))):
        path, _, anchor = link.partition("#")
        target = (DOCS / page).parent.joinpath(path).resolve() if path else DOCS / page
        assert target.is_relative_to(DOCS), link
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target.relative_to(DOCS).as_posix()), link


def test_the_navigation_has_every_page_once() -> None:
    """A page missing there fails the strict build; this test finds it without mkdocs."""
    configuration = (ROOT / "mkdocs.yml").read_text()
    listed = re.findall(r"(?:: |- )(\S+\.md)$", configuration[configuration.index("\nnav:") :], re.MULTILINE)
    assert sorted(listed) == PAGES


# Code.


@pytest.mark.parametrize("code", by_page(blocks("python")))
def test_every_python_block_compiles(code: str) -> None:
    """Each block compiles as its own module."""
    compile(code, "a page", "exec")


@pytest.mark.parametrize("code", by_page(blocks("json")))
def test_every_json_block_parses(code: str) -> None:
    """Each block is plain JSON, without comments."""
    json.loads(code)


@pytest.mark.parametrize("code", by_page(blocks("js")))
def test_every_javascript_block_parses(code: str, tmp_path: Path) -> None:
    """Each block parses as a module."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js")
    module = tmp_path / "block.mjs"
    module.write_text(code)
    checked = subprocess.run([node, "--check", str(module)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("code", by_page(blocks("sh")))
def test_every_shell_block_parses(code: str) -> None:
    """`sh` parses it without running it."""
    checked = subprocess.run(["sh", "-n"], input=code, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_functions_of_the_streaming_tutorial_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is saved under its name on the page and served by the page's own `serve.py`, without pauses."""
    page = "tutorials/streaming-function.md"
    names = re.findall(r"[Ss]ave this as `(\w+)\.py`", text_of(page))
    codes = [code.replace("asyncio.sleep(0.5)", "asyncio.sleep(0)") for _, code in blocks("python", page)]
    assert names == ["app", "hello", "serve"]
    for name, code in zip(names, codes, strict=True):
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "serve_hello.py").write_text(codes[2].replace("from app", "from hello"))
    monkeypatch.syspath_prepend(tmp_path)

    async def get(module: str) -> httpx.Response:
        transport = httpx.ASGITransport(__import__(module).app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/")

    try:
        ticks, hello = asyncio.run(get("serve")), asyncio.run(get("serve_hello"))
    finally:
        for name in (*names, "serve_hello"):
            sys.modules.pop(name, None)
    assert ticks.headers["content-type"] == "text/event-stream"
    assert [json.loads(line.removeprefix("data: ")) for line in ticks.text.split("\n\n")[:-1]] == [
        {"tick": number} for number in range(1, 6)
    ]
    assert hello.text == "Hello, streaming world!\n"


#: Deployed apps see another host than localhost, which some frameworks refuse by default.
DEPLOYED_HOST = "api.example.com"


def curled(url: str, command: str, *, host: str) -> httpx.Response:
    """The response to a page's curl command, from another server, asked under a name."""
    words = shlex.split(command)
    path = next(word for word in words if word.startswith("http://")).partition("9000/")[2]

    def given(option: str) -> list[str]:
        return [value for name, value in pairwise(words) if name == option]

    data = next(iter(given("--data")), None)
    method = next(iter(given("-X")), "GET" if data is None else "POST")
    lines = [f"host: {host}", *given("--header")]
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return httpx.request(method, url + path, content=data, headers=headers, timeout=PATIENCE_S)


#: Each shows an app, the command that serves it, and curl commands with their output.
PAGES_WITH_AN_APP = (
    "tutorials/streaming-fastapi.md",
    *(
        f"how-to/lambda-streaming/{name}.md"
        for name in ("django", "fastapi", "flask", "litestar", "mcp", "starlette")
    ),
)


@pytest.mark.parametrize("page", PAGES_WITH_AN_APP)
def test_the_app_of_a_page_responds_as_the_page_shows(page: str, tmp_path: Path) -> None:
    """Started by the page's command, asked by its curl commands, and stopped: each output is on the page.

    The first command is also sent under a host as deployed apps see it.
    """
    ((_, code),) = blocks("python", page)
    assert "ave this as `main.py`" in text_of(page)
    (tmp_path / "main.py").write_text(code)
    commands = [
        line for _, block in blocks("sh", page) for line in re.sub(r"\\\n\s*", " ", block).splitlines()
    ]
    (started,) = [line for line in commands if "lambda_streaming.emulator" in line]
    _, _, function = started.partition(" -- ")
    asked = [line for line in commands if line.startswith("curl ")]
    shown = [block for _, block in blocks("text", page)]
    bodies, logs = shown[: len(asked)], "".join(shown[len(asked) :]).splitlines()
    options = ("--init-timeout", str(PATIENCE_S), "--timeout", str(PATIENCE_S), "--allow-host", DEPLOYED_HOST)
    command_line = (*options, "--", *function.replace("python", sys.executable, 1).split())
    with emulating(tmp_path, *command_line) as emulator:
        local = emulator.url.split("/")[2]
        expected = [(command, body, local) for command, body in zip(asked, bodies, strict=True)]
        for command, body, host in ((asked[0], bodies[0], DEPLOYED_HOST), *expected):
            said = curled(emulator.url, command, host=host).text
            assert said.replace("\r\n", "\n").strip() == body.strip()
        emulator.stop()
        logged = [line for line in emulator.log().splitlines() if not re.search("REPORT|started as", line)]
    assert logged[len(logged) - len(logs) :] == logs
    assert not any("WARN" in line or "Traceback" in line for line in logged)


# Commands.

TARGETS = {
    target
    for line in re.findall(r"^([a-z][a-z -]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in line.split()
}
#: Targets that take options, and the command they are passed to.
WITH_OPTIONS = {"serve": "coachstream serve", "deploy": "coachstream deploy"}


def printed_commands(page: str) -> Iterator[list[str]]:
    """The words of every command on a page, in shell blocks and in inline code."""
    text = text_of(page)
    lines = [
        line
        for block in _FENCE.finditer(text)
        if block["language"] in {"sh", ""}
        for line in re.sub(r"\\\n\s*", " ", block["code"]).splitlines()
    ]
    lines += re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
    for line in lines:
        if re.match(r"\s*(?:make|(?:\.venv/bin/)?coachstream|python -m lambda_streaming\S*)\s", line):
            yield shlex.split(re.sub(r"\$\([^)]*\)", "X", line), comments=True)


@cache
def help_of(command: str) -> str:
    if command.startswith("coachstream"):
        result = CliRunner().invoke(app, [*command.split()[1:], "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0, f"{command} does not exist"
        return result.output
    run = subprocess.run(
        [sys.executable, *command.split()[1:], "--help"], capture_output=True, text=True, check=True
    )
    return run.stdout


def called(words: list[str]) -> tuple[str, list[str]] | None:
    """The command that receives options, and those options; None for a target without any."""
    match words:
        case ["make", *targets_and_variables]:
            targets = [word for word in targets_and_variables if "=" not in word]
            for target in targets:
                assert target in TARGETS or target.startswith(".venv/"), f"make {target} does not exist"
            arguments = [
                word.removeprefix("ARGS=") for word in targets_and_variables if word.startswith("ARGS=")
            ]
            command = WITH_OPTIONS.get(targets[0]) if targets else None
            return None if command is None else (command, shlex.split(" ".join(arguments)))
        case ["python", "-m", module, *arguments]:
            own = arguments[: arguments.index("--")] if "--" in arguments else arguments
            return f"python -m {module}", own
        case [_, "table" | "user-data" as group, command, *arguments]:
            return f"coachstream {group} {command}", arguments
        case [_, command, *arguments] if command.isalpha():
            return f"coachstream {command}", arguments
        case _:
            return "coachstream", words[1:]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED])
def test_every_command_on_a_page_exists_with_the_options_that_are_used(page: str) -> None:
    """This covers `make` and its targets, `coachstream` and its commands, and the emulator."""
    for words in printed_commands(page):
        if (call := called(words)) is None:
            continue
        command, arguments = call
        for option in (word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", help_of(command)), f"{command} {option}"


# Reference pages are complete.


def test_every_public_name_of_lambda_streaming_is_in_the_python_api() -> None:
    """The names come from `__all__`."""
    page = text_of("reference/python-api.md")
    described = {
        name.rpartition(".")[2] for name in re.findall(r"^::: (lambda_streaming\.\S+)$", page, re.MULTILINE)
    }
    assert described == set(lambda_streaming.__all__)


def test_every_event_has_a_section() -> None:
    """The section has the event's type on the wire as its title."""
    tags = {frame.__struct_config__.tag for frame in get_args(Frame)}
    assert tags <= anchors("reference/events.md")


def test_every_error_code_is_on_its_page() -> None:
    """The page of errors also names no code that does not exist."""
    assert all(f"`{code.value}`" in text_of("reference/errors.md") for code in ErrorCode)


def json_with(sk: str) -> object:
    (found,) = (
        item
        for _, code in blocks("json", "reference/stored-items.md")
        if sk in (item := json.loads(code))["sk"]
    )
    return found


def test_the_items_that_are_shown_are_those_that_are_stored() -> None:
    """Every attribute is as the store writes it."""
    key = ConversationKey("sam-1", "coach_main", "conv_1795811100000_k3j9x0q2a")
    replied_at, began_at = moment_of(1795811209871), moment_of(1795811100000)
    run = "run_1795811202222_b0jjrgon3"
    reply = Message(
        id="msg_1795811209871_v7c5n3b1h_assistant",
        role=Role.ASSISTANT,
        content="You trained 3 times.",
        timestamp=replied_at,
        metadata=MessageMetadata(
            model="claude-sonnet-4-6",
            stop_reason=StopReason.END_TURN,
            reply_to="msg_1795811202222_p2x8k1m4z_user",
            run_id=run,
        ),
    )
    assert json_with("coachMessage#") == message_item(key, reply, at=replied_at)
    active_at = moment_of(1795811202222)
    conversation = Conversation(
        key=key, title="Back under the bar", started_at=began_at, last_activity=active_at, total_messages=2
    )
    stored = conversation_item(conversation, at=began_at) | {"updatedAt": format_timestamp(active_at)}
    assert json_with("coachConversation#") == json.loads(json.dumps(stored))
    entry = LogEntry(1, 1, 1795811217222, "q7Zk2m", Said("You trained ", 0), 15000)
    assert json_with("coachRun#") == log_entry_item(key, run, entry, ttl=1795897602)


def test_every_kind_of_log_entry_is_described() -> None:
    """The page uses the name stored in the item."""
    page, explanation = text_of("reference/stored-items.md"), text_of("explanation/runs.md")
    for content in get_args(Content):
        assert f"`{content.__struct_config__.tag}`" in page
        assert f"`{content.__struct_config__.tag}`" in explanation


def an_invocation() -> Invocation:
    """An invocation with every field set."""
    key = ConversationKey("user-1", "coach-1", "conv-1")
    invocation = Invocation(InvocationIds("request-1", "a-function", None), is_cold_start=True)
    invocation.key, invocation.cause, invocation.started_ms = key, "ValueError in a_place", 1
    invocation.turn_ended(
        TurnReport(
            key=key,
            user_message_id="msg-1",
            reply_id="msg-2",
            error=ErrorCode.TURN_INTERRUPTED,
            stop_reason=StopReason.INTERRUPTED,
            is_first_attempt=True,
            was_answered=True,
            context_ms=1,
            model_asked_ms=1,
            model_first_text_ms=1,
            first_chunk_ms=1,
            total_ms=1,
            chunks=1,
            reply_chars=1,
            history_messages=1,
            memories=1,
            workouts=1,
            matches=1,
            left_out=("memories",),
            failed_follow_ups=("semantic memory",),
            usage=Usage(1, 1, 1, 1, 1),
            run_id="run-1",
            was_released=True,
            epoch=1,
        )
    )
    return invocation


def test_every_field_of_the_log_line_is_described() -> None:
    """The log line of an invocation with every field set is compared."""
    page = text_of("reference/metrics-and-logs.md")
    assert [name for name in fields_of(an_invocation(), 1) if f"`{name}`" not in page] == []
    for _, code in blocks("json", "reference/metrics-and-logs.md"):
        assert json.loads(code).keys() <= fields_of(an_invocation(), 1).keys() | {"level", "message"}


def test_every_metric_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    """The page uses its name in CloudWatch."""
    write_metrics(an_invocation(), namespace="Test")
    lines = [msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines()]
    names = {
        metric["Name"]
        for line in lines
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }
    assert len(names) > 5
    assert [name for name in names if f"`{name}`" not in text_of("reference/metrics-and-logs.md")] == []
