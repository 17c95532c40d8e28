"""`coachstream serve` as a process, as its users and their programs see it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.web.cross_origin import REQUEST_HEADERS, RESPONSE_HEADERS
from coachstream.web.sse import SseReader
from support.patience import PATIENCE_S
from support.serving import Serving, create_conversation, marked_processes, serving

FAST = ("--model-delay", "0")

NO_AWS = {
    **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""This machine's environment without any AWS configuration."""


@pytest.fixture(scope="module", params=["environments", "in-process"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serve")
    options = FAST if request.param == "environments" else (*FAST, "--in-process")
    allowed = ("--cors-origin", "https://App.example/", "--allow-host", "coach.lan")
    with serving(folder / "data", *options, *allowed) as running:
        yield running


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "coachstream.cli", *arguments]


def ask(server: Serving, conversation: str, text: str = "How was my week?") -> list[dict[str, Any]]:
    response = httpx.post(
        server.ready.stream(conversation),
        headers=server.ready.headers,
        json={"userResponse": text},
        timeout=PATIENCE_S,
    )
    assert response.status_code == 200
    return [json.loads(data) for data in SseReader().feed(response.content)]


def test_a_conversation_gets_a_title_after_its_first_exchange(server: Serving) -> None:
    """The list has it soon after the reply."""
    ready = server.ready
    created = httpx.post(ready.conversations(), headers=ready.headers, json={}, timeout=PATIENCE_S).json()
    conversation = created["conversation"]
    assert conversation["title"] == DEFAULT_TITLE
    assert httpx.get(f"{ready.url}local/session").json()["getsTitles"] is True
    ask(server, conversation["conversationId"], "I just did 5x5 squats at 100 kg")
    until = time.monotonic() + PATIENCE_S
    while (title := title_of(server, conversation["conversationId"])) == DEFAULT_TITLE:
        assert time.monotonic() < until, "no title"
        time.sleep(0.02)
    assert title == "5x5 squats at 100 kg"


def title_of(server: Serving, conversation_id: str) -> str:
    listed = httpx.get(server.ready.conversations(), headers=server.ready.headers).json()["conversations"]
    [found] = [each["title"] for each in listed if each["conversationId"] == conversation_id]
    return str(found)


def test_the_ready_line_names_addresses_that_work(server: Serving) -> None:
    """Base URLs end with a slash, and everything in the line exists."""
    ready = server.ready
    assert ready.event == "ready"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", ready.url)
    assert ready.stream_url.endswith("/")
    assert ready.conversations_url.endswith("/")
    seeded = httpx.get(f"{ready.conversations()}/{ready.conversation_id}", headers=ready.headers)
    assert len(seeded.json()["conversation"]["messages"]) >= 4
    assert "text/html" in httpx.get(ready.url).headers["content-type"]


def test_a_turn_runs_through_the_real_parts(server: Serving) -> None:
    """Token, prompt, demo model, SQLite and recall together: a whole reply, saved exactly."""
    conversation = create_conversation(server.ready)
    start, run, *chunks, complete = ask(server, conversation, "What about my knee when I squat?")
    assert (start["type"], run["type"], complete["type"]) == ("start", "run", "complete")
    assert len(chunks) > 5
    assert complete["aiMessage"]["content"] == "".join(chunk["content"] for chunk in chunks)
    assert complete["pineconeContext"]["used"] is True
    listed = httpx.get(server.ready.conversations(), headers=server.ready.headers).json()
    assert listed["conversations"][0]["conversationId"] == conversation
    assert listed["conversations"][0]["metadata"]["totalMessages"] == 2


def test_a_conversation_is_born_with_its_first_message_answered(server: Serving) -> None:
    """`initialMessage` through the whole service."""
    ready = server.ready
    created = httpx.post(
        ready.conversations(), headers=ready.headers, json={"initialMessage": "Hi!"}, timeout=PATIENCE_S
    )
    name = created.json()["conversation"]["conversationId"]
    got = httpx.get(f"{ready.conversations()}/{name}", headers=ready.headers).json()["conversation"]
    assert [message["role"] for message in got["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        (None, 401, "MISSING_AUTH_HEADER"),
        ("junk text", 401, "INVALID_TOKEN_FORMAT"),
        ("junk", 401, "INVALID_TOKEN_FORMAT"),
        ("e30.e30.e30", 401, None),
    ],
)
def test_requests_without_a_valid_token_are_refused(
    server: Serving, token: str | None, status: int, code: str | None
) -> None:
    """Scenarios 5 and 6 of the existing test script, on both functions."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    ready = server.ready
    for response in (
        httpx.post(ready.stream(), headers=headers, json={"userResponse": "Hi"}, timeout=PATIENCE_S),
        httpx.get(ready.conversations(), headers=headers, timeout=PATIENCE_S),
    ):
        assert response.status_code == status
        assert code is None or code in response.text


def test_a_valid_token_on_a_bad_path_is_404(server: Serving) -> None:
    """Scenario 7 of the existing test script."""
    url = f"{server.ready.stream_url}/users/{server.ready.user_id}/invalid/path"
    response = httpx.post(url, headers=server.ready.headers, json={"userResponse": "Hi"}, timeout=PATIENCE_S)
    assert response.status_code == 404
    assert "MISSING_PATH_PARAMS" in response.text


def test_only_configured_origins_pass_cors(server: Serving) -> None:
    """The function URLs respond to preflights; the page's session is only for its own origin."""
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    for url in (server.ready.stream(), server.ready.conversations()):
        allowed = httpx.options(url, headers=preflight)
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        assert set(REQUEST_HEADERS) <= set(allowed.headers["access-control-allow-headers"].split(","))
        assert set(RESPONSE_HEADERS) <= set(allowed.headers["access-control-expose-headers"].split(","))
        other = httpx.options(url, headers={**preflight, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
    session = httpx.get(f"{server.ready.url}local/session", headers={"Origin": "https://app.example"})
    assert session.status_code == 200
    assert "access-control-allow-origin" not in session.headers


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("Host", "evil.example", "WRONG_HOST"),
        ("Host", "localhost:evil.example", "WRONG_HOST"),
        ("Host", "[localhost", "WRONG_HOST"),
        ("Origin", "https://evil.example", "WRONG_ORIGIN"),
        ("Origin", "null", "WRONG_ORIGIN"),
    ],
)
def test_a_page_of_another_site_reaches_nothing(server: Serving, header: str, value: str, code: str) -> None:
    """Neither the page nor its session nor a function, even with a valid token."""
    ready = server.ready
    for url in (ready.url, f"{ready.url}local/session", ready.conversations(), ready.stream()):
        refused = httpx.get(url, headers={**ready.headers, header: value}, timeout=PATIENCE_S)
        assert (refused.status_code, refused.json()["code"]) == (403, code), url


def test_a_host_that_was_allowed_is_answered_by_its_name(server: Serving) -> None:
    """The page works through a tunnel or proxy and keeps using that host."""
    session = httpx.get(f"{server.ready.url}local/session", headers={"Host": "coach.lan"})
    assert session.json().get("streamUrl") == "http://coach.lan/", session.text


#: Requests the session as another user; only root can switch users.
OTHER_USER = """
import encodings.idna, http.client, os, sys
if os.geteuid() == 0:
    os.setuid(65534)
client = http.client.HTTPConnection(sys.argv[1])
client.request("GET", "/local/session", headers={"X-Forwarded-For": "10.1.2.3"})
response = client.getresponse()
print(response.status, response.read().decode())
"""


def test_another_user_of_this_machine_is_not_signed_in(server: Serving) -> None:
    """Whatever address the request claims; only the user who started the server is."""
    address = httpx.URL(server.ready.url).netloc.decode()
    asked = subprocess.run(
        [sys.executable, "-ISE", "-c", OTHER_USER, address], capture_output=True, text=True, check=True
    )
    if os.geteuid() == 0:
        assert asked.stdout.startswith("403 ")
        assert "WRONG_USER" in asked.stdout
        assert "token" not in asked.stdout
    else:
        assert asked.stdout.startswith("200 ")


def test_the_page_signs_in_with_a_token_that_works(server: Serving) -> None:
    """`/local/session` returns what the page needs, for the origin it was opened at."""
    session = httpx.get(f"{server.ready.url}local/session").json()
    assert session["userId"] == server.ready.user_id
    assert session["coaches"][0]["coachId"] == session["coachId"] == server.ready.coach_id
    listed = httpx.get(
        server.ready.conversations(),
        headers={"Authorization": f"Bearer {session['token']}"},
        timeout=PATIENCE_S,
    )
    assert listed.status_code == 200


def test_a_token_from_the_command_line_is_accepted(server: Serving) -> None:
    """`coachstream token` prints only the token; another user's token is refused."""
    printed = subprocess.run(
        command("token", "--data", str(data_of(server))), capture_output=True, text=True, check=True
    )
    token = printed.stdout.strip()
    assert token.count(".") == 2
    url = server.ready.conversations()
    assert httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE_S).status_code == 200
    other = subprocess.run(
        command("token", "--data", str(data_of(server)), "--user-id", "somebody"),
        capture_output=True,
        text=True,
        check=True,
    )
    refused = httpx.get(url, headers={"Authorization": f"Bearer {other.stdout.strip()}"}, timeout=PATIENCE_S)
    assert (refused.status_code, refused.json()["code"]) == (403, "USER_ID_MISMATCH")


def test_the_terminal_chat_finds_the_server_by_its_folder(server: Serving) -> None:
    """A question, the streamed reply, another coach, and a normal exit at the end of the input."""
    talked = subprocess.run(
        command("chat", "--data", str(data_of(server)), "--new"),
        input="How was my week?\n/coach rico\n/history\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert talked.returncode == 0, talked.stderr
    assert "Mara Lindqvist:" in talked.stdout
    assert "Rico Valdés" in talked.stdout
    assert talked.stdout.rstrip().endswith("See you next time.")
    once = subprocess.run(
        command("chat", "--url", server.ready.url, "--coach", "rico", "-m", "Hi!"),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert once.returncode == 0, once.stderr
    assert "Rico Valdés:" in once.stdout


def test_the_data_folder_is_private_to_its_owner(server: Serving) -> None:
    """Other users must not read conversations or the issuer's key."""
    assert stat.S_IMODE(data_of(server).stat().st_mode) == 0o700


def test_the_workers_of_the_functions_are_processes_of_their_own(server: Serving) -> None:
    """Execution environments are processes; with `--in-process` there is only one."""
    ask(server, create_conversation(server.ready))
    workers = len(server.processes()) - 1
    assert (workers == 0) == ("--in-process" in arguments_of(server))


def test_a_taken_port_is_a_sentence_and_touches_nothing(tmp_path: Path) -> None:
    """The error has the remedy, the exit status is 1, and no folder is created."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = subprocess.run(
            command("serve", "--port", port, "--data", str(tmp_path / "data")),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    assert refused.returncode == 1
    assert f"Port {port} is in use" in refused.stderr
    assert "--port 0" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--host", "no.such.host.invalid"],
            "There is no address 'no.such.host.invalid' to listen on. Choose an address of this machine with",
        ),
        (
            ["--host", "192.0.2.1"],
            "192.0.2.1 is not an address of this machine. Choose an address of this machine with --host,",
        ),
        (["--cors-origin", "app.example"], "--cors-origin: 'app.example' is not an origin: that is scheme, "),
        (["--data", "/proc/nowhere"], "The data folder /proc/nowhere cannot be used"),
    ],
)
def test_an_unusable_option_is_a_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """There is no traceback for an error that the user can fix."""
    refused = subprocess.run(
        command("serve", "--port", "0", *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        cwd=tmp_path,
    )
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (["--table", "t"], {}, "--table is for --store dynamodb."),
        (
            [],
            {"COACHSTREAM_STOER": "dynamodb"},
            "COACHSTREAM_STOER is not a variable of coachstream (did you mean COACHSTREAM_STORE?).",
        ),
        (["--model-id", "m"], {}, "--model-id is for --model bedrock."),
        ([], {"COACHSTREAM_MODEL": "gpt"}, "COACHSTREAM_MODEL must be demo or bedrock, not 'gpt'."),
        ([], {"COACHSTREAM_MODEL": "bedrock"}, "No AWS region is set. Set one with --region or AWS_REGION."),
        (["--identity", "cognito"], {"APP_CLIENT_ID": "c"}, "USER_POOL_ID is not set ("),
        (["--store", "dynamodb"], {"BRANCH_NAME": "main"}, "DYNAMODB_TABLE_NAME is not set ("),
        (
            ["--recall", "pinecone"],
            {"PINECONE_API_KEY": "pcsk-sesame", "PINECONE_INDEX_HOST": "http://i.example"},
            "PINECONE_INDEX_HOST cannot be used: plain http is allowed for this machine only; use https.",
        ),
    ],
)
def test_an_unavailable_part_is_refused_and_not_replaced_by_the_demos(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], sentence: str
) -> None:
    """Options and environment override the demo, so that a user never mistakes one for the other."""
    refused = subprocess.run(
        command("serve", "--port", "0", "--data", str(tmp_path / "data"), *arguments),
        env={**NO_AWS, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert refused.returncode == 1
    assert refused.stderr.startswith(sentence)
    assert len(refused.stderr.splitlines()) == 1
    assert "sesame" not in refused.stderr


NO_CREDENTIALS = {
    "part": "AWS credentials",
    "message": "There are no AWS credentials, which are needed for bedrock-runtime.",
    "remedy": "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role.",
}
NO_KEY = {
    "part": "recall",
    "message": "PINECONE_API_KEY is not set.",
    "remedy": "Set PINECONE_API_KEY, or PINECONE_API_KEY_SECRET_ARN, and PINECONE_INDEX_HOST.",
}


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (["--model", "bedrock", "--region", "us-west-2"], [NO_CREDENTIALS]),
        (["--recall", "pinecone"], [NO_KEY]),
        ([], None),
    ],
)
def test_known_problems_are_reported_before_the_first_message(
    tmp_path: Path, arguments: list[str], problems: list[dict[str, str]] | None
) -> None:
    """A person reads them above the address, a program in the first line; the server still starts."""
    options = ["serve", "--port", "0", "--data", str(tmp_path / "data"), "--in-process", *FAST, *arguments]
    as_json = _first_lines([*options, "--json"], until='"ready"')
    assert json.loads(as_json).get("problems") == problems
    shown = _first_lines(options, until="Data is kept in")
    assert json.loads(as_json).get("isDataNew") is True
    assert ("(a new folder)" in shown) is False
    for problem in problems or ():
        assert f"    {problem['part']}: {problem['message']}\n      {problem['remedy']}\n" in shown
    assert ("This will not work" in shown) == (problems is not None)


def test_a_table_that_cannot_be_reached_is_refused_with_the_reason_and_the_remedy(tmp_path: Path) -> None:
    """Without credentials the server cannot look up a user in it."""
    refused = subprocess.run(
        command("serve", "--port", "0", "--data", str(tmp_path), "--store", "dynamodb", "--table", "abc"),
        env={**NO_AWS, "AWS_REGION": "us-west-2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert refused.returncode == 1
    assert (
        "AWS credentials: There are no AWS credentials, which are needed for dynamodb. Set" in refused.stderr
    )


def _first_lines(arguments: list[str], *, until: str) -> str:
    """What a server prints up to the line that contains a text; it is then stopped."""
    with subprocess.Popen(
        command(*arguments), env=NO_AWS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        shown = ""
        try:
            while until not in shown:
                line = process.stdout.readline()
                assert line, shown
                shown += line
        finally:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
    assert process.returncode == 0
    return shown


def test_stdout_carries_json_only_and_its_last_line_tells_the_end(tmp_path: Path) -> None:
    """A program follows the server's lifecycle line by line; the log is on stderr."""
    with serving(tmp_path / "data", *FAST, "--in-process") as server:
        assert server.process.stdout is not None
        server.process.send_signal(signal.SIGTERM)
        rest = server.process.stdout.read().splitlines()
        assert server.process.wait(PATIENCE_S) == 0
    assert [json.loads(line)["event"] for line in rest] == ["stopping", "stopped"]


def test_the_terminal_shows_the_address_a_working_command_and_how_to_stop(tmp_path: Path) -> None:
    """The printed curl command is run as printed."""
    process = subprocess.Popen(
        command("serve", "--port", "0", "--data", str(tmp_path / "data"), *FAST, "--in-process"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        shown = ""
        while "Ctrl-C" not in shown:
            line = process.stdout.readline()
            assert line, shown
            shown += line
        start = shown.index("curl ")
        curl = shown[start : shown.index("\n\n", start)]
        pasted = subprocess.run(
            ["sh", "-c", curl], capture_output=True, text=True, check=True, timeout=PATIENCE_S
        )
        assert '{"type":"complete"' in pasted.stdout
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        process.stdout.close()


def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    """Two in a row during a reply: the server exits and leaves no process behind."""
    with serving(tmp_path / "data", "--model-delay", "1") as server:
        with httpx.stream(
            "POST",
            server.ready.stream(),
            headers=server.ready.headers,
            json={"userResponse": "Hi"},
            timeout=PATIENCE_S,
        ) as response:
            next(response.iter_bytes())
            server.process.send_signal(signal.SIGINT)
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(PATIENCE_S) == 0
        assert marked_processes(server.mark) == []


def data_of(server: Serving) -> Path:
    """The data folder that the server was started with."""
    arguments = arguments_of(server)
    return Path(arguments[arguments.index("--data") + 1])


def arguments_of(server: Serving) -> list[str]:
    """The arguments that the server was started with."""
    arguments = server.process.args
    assert isinstance(arguments, list)
    return arguments
