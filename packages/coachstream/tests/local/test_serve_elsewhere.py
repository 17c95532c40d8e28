"""`coachstream serve` with remote parts: DynamoDB, Bedrock, Pinecone and Cognito."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from coachstream.identity.local_issuer import LocalIssuer
from coachstream.local.demo.seed import USER_ID
from coachstream.web.sse import SseReader
from support.chat_page import CHROMIUM, chromium, new_tab
from support.elsewhere import Elsewhere, coachstream, elsewhere
from support.patience import PATIENCE_S
from support.serving import read_line

#: The variables of `Elsewhere.environment` that choose the parts; here the options choose them.
CHOICES = ("COACHSTREAM_STORE", "COACHSTREAM_MODEL", "COACHSTREAM_RECALL", "COACHSTREAM_IDENTITY")


@pytest.fixture(scope="module")
def servers(moto_url: str, dynamodb_url: str) -> Iterator[Elsewhere]:
    with elsewhere(moto_url, dynamodb_url) as servers:
        yield servers


@contextmanager
def serving(
    folder: Path, *options: str, environment: Mapping[str, str]
) -> Iterator[tuple[dict[str, Any], Path]]:
    """A server with exactly this environment; yields its first line and its log."""
    log = folder / "serve.log"
    command = [sys.executable, "-m", "coachstream.cli", "serve", "--json", "--port", "0"]
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [*command, "--data", str(folder / "data"), *options],
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = read_line(process.stdout, PATIENCE_S)
            assert line, log.read_text()
            yield json.loads(line), log
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 0


def refused(folder: Path, *options: str, environment: Mapping[str, str]) -> str:
    """The error of a server that does not start."""
    done = coachstream(
        *("serve", "--port", "0", "--data", str(folder / "data"), *options), environment=environment
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def without(environment: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in names}


def ask(ready: Mapping[str, Any], text: str, *, token: str | None = None) -> list[dict[str, Any]]:
    """Stream a reply in the ready line's conversation."""
    path = f"users/{ready['userId']}/coaches/{ready['coachId']}/conversations/{ready['conversationId']}"
    response = httpx.post(
        f"{ready['streamUrl']}{path}/stream",
        headers={"Authorization": f"Bearer {token or ready['token']}"},
        json={"userResponse": text},
        timeout=PATIENCE_S,
    )
    assert response.status_code == 200, response.text
    return [json.loads(data) for data in SseReader().feed(response.content)]


def test_options_choose_every_part_and_a_turn_runs_through_all_of_them(
    servers: Elsewhere, tmp_path: Path
) -> None:
    """A table, a model, an index and the pool's tokens, none of them named by the environment."""
    environment = without(servers.environment, *CHOICES, "DYNAMODB_TABLE_NAME")
    table = f"{servers.table}-all"
    options = ("--store", "dynamodb", "--table", table, "--model", "bedrock", "--recall", "pinecone")
    user_id = "kim-0123456789abcdefg"
    servers.pool.add_user("kim", user_id)
    token = servers.pool.sign_in("kim").id
    as_user = ("--identity", "cognito", "--demo-data", "--user-id", user_id)

    assert f"Table {table} cannot be used" in refused(tmp_path, *options, *as_user, environment=environment)
    made = coachstream("table", "create", "--table", table, environment=environment)
    assert made.returncode == 0, made.stderr

    with serving(tmp_path, *options, *as_user, environment=environment) as (ready, log):
        assert ready["token"] is ready["userId"] is None
        assert ready["parts"] == {
            "store": "dynamodb",
            "model": "bedrock",
            "recall": "pinecone",
            "identity": "cognito",
        }
        session = httpx.get(
            f"{ready['url']}local/session", headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE_S
        ).json()
        assert (session["userId"], session["token"]) == (user_id, token)
        assert [coach["name"] for coach in session["coaches"]] == ["Mara Lindqvist", "Rico Valdés"]

        start, _, *chunks, complete = ask(session, "How was my week?")
        assert (start["type"], complete["type"]) == ("start", "complete"), log.read_text()
        assert complete["aiMessage"]["content"] == "".join(chunk["content"] for chunk in chunks)
        assert complete["aiMessage"]["metadata"]["model"] == "claude-sonnet-4-6"

        path = f"users/{user_id}/coaches/{session['coachId']}/conversations/{session['conversationId']}"
        whole = httpx.post(
            f"{ready['url']}{path}/send-message",
            headers={"Authorization": f"Bearer {token}"},
            json={"userResponse": "And my knee?"},
            timeout=PATIENCE_S,
        )
        assert whole.status_code == 200, log.read_text()
        assert "hunter2" not in log.read_text()


def test_the_environment_chooses_where_no_option_does(servers: Elsewhere, tmp_path: Path) -> None:
    """An option overrides it: here the model and the identity are local again."""
    created = coachstream("table", "create", environment=servers.environment)
    assert created.returncode == 0, created.stderr
    options = ("--model", "demo", "--identity", "local", "--model-delay", "0", "--in-process")
    nobody = refused(tmp_path, *options, environment=servers.environment)
    assert "does not contain the demo data. --demo-data writes it there, and --user-id ID signs in" in nobody

    with serving(tmp_path, *options, "--demo-data", environment=servers.environment) as (ready, _):
        assert ready["parts"] == {
            "store": "dynamodb",
            "model": "demo",
            "recall": "pinecone",
            "identity": "local",
        }
        assert ready["userId"] == USER_ID
        assert ask(ready, "Hello!")[-1]["aiMessage"]["metadata"]["model"] == "demo"
    # Existing data is found without `--demo-data`, and not written again.
    with serving(tmp_path, *options, environment=servers.environment) as (again, _):
        assert again["conversationId"] == ready["conversationId"]
        other = refused(tmp_path, *options, "--user-id", "somebody", environment=servers.environment)
        assert "has no coach for the user somebody" in other


def test_a_model_alone_can_be_the_real_one(servers: Elsewhere, tmp_path: Path) -> None:
    """A laptop that uses only Bedrock; the region comes from the shared configuration."""
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-central-1\n")
    environment = without(servers.environment, *CHOICES, "AWS_REGION", "AWS_ENDPOINT_URL")
    options = ("--model", "bedrock", "--model-id", "anthropic.claude-3-5-haiku-20241022-v1:0")
    with serving(tmp_path, *options, environment={**environment, "AWS_CONFIG_FILE": str(config)}) as (
        ready,
        log,
    ):
        complete = ask(ready, "Hello!")[-1]
        assert complete["type"] == "complete", log.read_text()
        assert complete["aiMessage"]["metadata"]["model"] == "claude-3-5-haiku"
        assert (tmp_path / "data" / "conversations.db").exists()


@pytest.fixture(scope="module")
def pool_server(
    servers: Elsewhere, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, Any], str]]:
    """A server that accepts the pool's tokens, with all other parts local, and such a token."""
    environment = without(servers.environment, *CHOICES)
    servers.pool.add_user("ada", "ada-user-id")
    options = ("--identity", "cognito", "--model-delay", "0")
    with serving(tmp_path_factory.mktemp("pool"), *options, environment=environment) as (ready, _):
        yield ready, servers.pool.sign_in("ada").id


def test_where_a_pool_issues_the_tokens_there_is_no_session_without_one(
    pool_server: tuple[dict[str, Any], str], tmp_path: Path
) -> None:
    """Neither without a token, nor with one of the local issuer, nor with junk."""
    ready, token = pool_server
    address = f"{ready['url']}local/session"
    local = LocalIssuer(tmp_path).issue("ada-user-id").token
    for headers, code in (
        ({}, "MISSING_AUTH_HEADER"),
        ({"Authorization": "Bearer junk"}, "INVALID_TOKEN_FORMAT"),
        ({"Authorization": f"Bearer {local}"}, "INVALID_TOKEN"),
    ):
        answer = httpx.get(address, headers=headers, timeout=PATIENCE_S)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    session = httpx.get(address, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE_S).json()
    assert session["userId"] == session["userName"] == "ada-user-id"
    assert ask(session, "Hello!")[-1]["type"] == "complete"


def test_the_terminal_chat_takes_a_token_of_the_pool(pool_server: tuple[dict[str, Any], str]) -> None:
    """As an option or from the environment; without one, the error says what is missing."""
    ready, token = pool_server
    words = ("chat", "--url", ready["url"], "-m", "Hi!")
    refused = coachstream(*words, environment={"PATH": ""})
    assert refused.returncode == 1
    assert "An ID token of the user pool is needed: --token TOKEN." in refused.stderr
    for answered in (
        coachstream(*words, "--token", token, environment={"PATH": ""}),
        coachstream(*words, environment={"PATH": "", "COACHSTREAM_ID_TOKEN": token}),
    ):
        assert answered.returncode == 0, answered.stderr
        assert "Mara Lindqvist:" in answered.stdout


@pytest.mark.browser
async def test_the_page_asks_for_a_token_and_keeps_it_for_the_tab_alone(
    pool_server: tuple[dict[str, Any], str],
) -> None:
    """A wrong token is asked for again; the right one survives a reload and is not stored permanently."""
    if CHROMIUM is None or importlib.util.find_spec("playwright") is None:
        pytest.skip("needs Chromium and playwright")
    ready, token = pool_server
    async with chromium() as browser, new_tab(browser, ready["url"]) as tab:
        await tab.open()
        field = tab.page.get_by_label("Paste yours")
        assert await tab.problem() == "Please sign in to talk to your coach."
        await field.fill("junk")
        await tab.button("Sign in").click()
        await tab.until("() => document.querySelector('.problem')?.textContent.includes('could not be read')")
        await tab.page.wait_for_selector("html[data-ready]")
        await field.fill(f"Bearer {token}")
        await tab.button("Sign in").click()
        await tab.page.wait_for_selector(".message-assistant")
        assert await tab.ask("How was my week?")
        await tab.reload()
        await tab.page.wait_for_selector(".message-assistant")
        kept = await tab.evaluate("() => JSON.stringify({ ...localStorage }) + document.cookie")
        assert token not in kept
        tab.problems[:] = [problem for problem in tab.problems if "401" not in problem]
