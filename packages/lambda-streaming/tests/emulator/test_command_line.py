"""`python -m lambda_streaming.emulator` from outside: options, messages, exit statuses, signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import httpx
import pytest

from support.emulating import MODULE, Emulating, emulating
from support.environments import SCRIPTED
from support.patience import PATIENCE_S

OPTIONS = (
    *(
        "--host",
        "--port",
        "--allow-host",
        "--front-door",
        "--invoke-mode",
        "--multi-value-headers",
        "--reload",
        "--throttle",
        "--json",
    ),
    *("--timeout", "--env-file", "--env", "--function-name", "--memory-size"),
    *(
        "--max-concurrency",
        "--environment-concurrency",
        "--no-freeze",
        "--init-timeout",
        "--idle-timeout",
        "--grace",
    ),
    *("--cors", "--cors-allow-origin", "--cors-allow-method", "--cors-allow-header", "--cors-expose-header"),
    *("--cors-max-age", "--cors-allow-credentials", "COMMAND", "127"),
)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulating]:
    with emulating(tmp_path, "--", *SCRIPTED) as running:
        yield running


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the emulator until it exits."""
    return subprocess.run(
        [*MODULE, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=cwd
    )


def ask(emulator: Emulating, *steps: list[object]) -> httpx.Response:
    """Send a request that makes the scripted runtime perform these steps."""
    return httpx.post(emulator.url, json=steps, timeout=PATIENCE_S)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll, with a deadline, for a condition that no event signals."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"timed out waiting: {what}"
        time.sleep(0.01)


def test_help_names_every_option_and_the_exit_statuses() -> None:
    """`--help` alone documents the whole command line."""
    shown = run("--help")
    assert shown.returncode == 0
    for option in OPTIONS:
        assert option in shown.stdout
    assert (
        "    python -m lambda_streaming.emulator -- python -m lambda_streaming app.handler\n" in shown.stdout
    )
    assert "…" not in shown.stdout


def test_a_mistyped_option_is_reported_in_one_sentence() -> None:
    """The message contains nothing from the parsing library, no usage frame; the exit status is 2."""
    refused = run("--port", "abc", "--", "x")
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "Invalid value for '--port': 'abc' is not a whole number.",
        "See `python -m lambda_streaming.emulator --help`.",
    ]


def test_it_reports_the_address_it_serves_on(emulator: Emulating) -> None:
    """By default the emulator listens on a free loopback port."""
    assert emulator.url.startswith("http://127.0.0.1:")
    assert ask(emulator, ["write", "hello"]).text == "hello"


def test_without_json_the_url_is_printed_in_a_sentence(tmp_path: Path) -> None:
    """The default output is for people; only `--json` prints a record."""
    process = subprocess.Popen(
        [*MODULE, "--port", "0", "--function-name", "fn", "--", *SCRIPTED],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:")
        assert line.endswith("/ invokes fn (RESPONSE_STREAM). Ctrl-C stops it.\n")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        process.stdout.close()


def test_boto3_invokes_the_function_as_the_same_user(emulator: Emulating) -> None:
    """The caller is identified by its connection; any credentials and any function name work."""
    client = boto3.session.Session().client(
        "lambda",
        endpoint_url=emulator.url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    payload = b'[["write", "result"]]'
    response = client.invoke(FunctionName="any", Payload=payload)
    assert response["Payload"].read() == b"result"
    stream = client.invoke_with_response_stream(FunctionName="any", Payload=payload)["EventStream"]
    assert [*stream] == [{"PayloadChunk": {"Payload": b"result"}}, {"InvokeComplete": {}}]


def test_the_functions_output_is_logged_under_its_name(emulator: Emulating) -> None:
    """Each line is logged separately, among the events of the execution environments."""
    ask(emulator, ["print", "one\ntwo"], ["write", "x"])
    wait_until(lambda: "REPORT" in emulator.log(), "the report of the invocation")
    lines = emulator.log().splitlines()
    assert "[function-1] one" in lines
    assert "[function-1] two" in lines


def test_variables_come_from_files_and_options(tmp_path: Path) -> None:
    """Options override files, later files override earlier ones, and both override Lambda's own variables."""
    (tmp_path / "one.env").write_text("# mine\nexport A='1 # not a comment'\nB=file # a comment\nC=one\n")
    (tmp_path / "two.env").write_text('C="two\\nlines"\nTZ=Europe/Zurich\n')
    files = ("--env-file", "one.env", "--env-file", "two.env")
    with emulating(tmp_path, *files, "--env", "B=option=1", "--memory-size", "256", *SCRIPTED) as emulator:
        for name, value in {
            "A": "1 # not a comment",
            "B": "option=1",
            "C": "two\nlines",
            "TZ": "Europe/Zurich",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        }.items():
            assert ask(emulator, ["write-variable", name]).text == value


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--", "no-such-program"], 127, "'no-such-program': it is not on the PATH"),
        (["--", "./no-such-file"], 127, "there is no such file"),
        (["--", "./not-executable"], 126, "cannot be executed"),
        (["--", "python -m app"], 127, "COMMAND is not run by a shell"),
        ([], 2, "COMMAND"),
        (["--env", "1A=x", "true"], 2, "--env 1A: expected NAME=VALUE"),
        (["--env", "AWS_LAMBDA_RUNTIME_API=x", "true"], 2, "is set by the emulator"),
        (["--env-file", "bad.env", "true"], 2, "bad.env, line 2: expected NAME=VALUE"),
        (["--env-file", "none.env", "true"], 2, "cannot read none.env: No such file"),
        (["--timeout", "0", "true"], 2, "must be finite and positive"),
        (["--timeout", "nan", "true"], 2, "must be finite and positive"),
        (["--grace", "inf", "true"], 2, "must be finite"),
        (["--max-concurrency", "0", "true"], 2, "max-concurrency"),
        (["--cors-allow-method", "GET", "true"], 2, "need an origin"),
        (["--cors", "*", "--cors-allow-method", "OPTIONS", "true"], 2, "OPTIONS"),
        (["--front-door", "alb", "--invoke-mode", "response-stream", "true"], 2, "alb cannot stream"),
        (["--multi-value-headers", "true"], 2, "--multi-value-headers is for --front-door alb"),
        (["--front-door", "http-api", "--cors", "*", "true"], 2, "--cors options are for"),
        (["--host", "no.such.host.invalid", "true"], 1, "There is no address 'no.such.host.invalid'"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_a_startup_error_is_reported_with_an_exit_status(
    arguments: list[str], status: int, message: str, tmp_path: Path
) -> None:
    """The error is one sentence on standard error, without a traceback."""
    (tmp_path / "not-executable").write_text("")
    (tmp_path / "bad.env").write_text("A=1\nsecret value\n")
    refused = run("--port", "0", *arguments, cwd=tmp_path)
    assert refused.returncode == status
    assert message in " ".join(refused.stderr.replace("│", " ").split())
    assert "Traceback" not in refused.stderr
    assert "secret" not in refused.stderr
    assert refused.stdout == ""


def test_a_port_in_use_is_reported_with_the_remedy() -> None:
    """The exit status is 1, and the message suggests `--port 0`."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = run("--port", str(taken.getsockname()[1]), "true")
    assert refused.returncode == 1
    assert "is in use. Choose another one with --port, or --port 0 for any free one" in " ".join(
        refused.stderr.split()
    )


def test_only_requests_for_an_allowed_host_reach_the_function(tmp_path: Path) -> None:
    """A name that an attacker can point at this machine is refused; the function itself checks origins."""
    with emulating(tmp_path, "--allow-host", ".tunnel.example", "--", *SCRIPTED) as emulator:
        for host, status in {
            "localhost:1": 200,
            "a.tunnel.example": 200,
            "local.lambda-url.eu-west-1.on.aws": 200,
            "other.lambda-url.eu-west-1.on.aws": 403,
            "local.lambda-url.evil.example": 403,
            "localhost:evil.example": 403,
            "evil.example": 403,
        }.items():
            headers = {"Host": host, "Origin": "https://app.example"}
            answered = httpx.post(emulator.url, headers=headers, json=[["write", "x"]], timeout=PATIENCE_S)
            assert answered.status_code == status, host


def test_listening_beyond_loopback_is_warned_of(tmp_path: Path) -> None:
    """There is no such warning while the emulator listens on loopback only."""
    with emulating(tmp_path, "--host", "0.0.0.0", *SCRIPTED) as emulator:  # noqa: S104 (what is tested)
        assert "it is not a loopback address" in emulator.log()
        assert emulator.url.startswith("http://localhost:")
    with emulating(tmp_path, *SCRIPTED) as emulator:
        assert "loopback" not in emulator.log()


def test_cors_can_be_configured_in_full_or_in_short(tmp_path: Path) -> None:
    """The shorthand allows all methods and headers; the individual options restrict them."""
    preflight = {"origin": "https://a.example", "access-control-request-method": "POST"}
    with emulating(tmp_path, "--cors", "*", *SCRIPTED) as emulator:
        headers = httpx.options(emulator.url, headers=preflight).headers
        assert headers["access-control-allow-origin"] == "*"
        assert headers["access-control-allow-methods"] == "*"
        assert headers["access-control-allow-headers"] == "*"
    options = "--cors-allow-origin https://a.example --cors-allow-method POST --cors-allow-header x-a"
    more = "--cors-expose-header x-b --cors-max-age 60 --cors-allow-credentials"
    with emulating(tmp_path, *options.split(), *more.split(), *SCRIPTED) as emulator:
        headers = httpx.options(emulator.url, headers=preflight).headers
        assert {
            name.removeprefix("access-control-"): value
            for name, value in headers.items()
            if name.startswith("access-control-")
        } == {
            "allow-origin": "https://a.example",
            "allow-methods": "POST",
            "allow-headers": "x-a",
            "expose-headers": "x-b",
            "max-age": "60",
            "allow-credentials": "true",
        }


def test_a_buffered_url_interprets_the_result(tmp_path: Path) -> None:
    """`--invoke-mode buffered` turns a proxy result into an HTTP response."""
    with emulating(tmp_path, "--invoke-mode", "buffered", *SCRIPTED) as emulator:
        result = json.dumps({"statusCode": 418, "body": "tea"})
        response = ask(emulator, ["write", result])
    assert (response.status_code, response.text) == (418, "tea")


def test_a_second_signal_cuts_the_grace_short(tmp_path: Path) -> None:
    """The emulator exits at once, and still leaves no process behind."""
    with (
        emulating(tmp_path, "--grace", "600", *SCRIPTED) as emulator,
        httpx.stream("POST", emulator.url, json=[["write", "x"], ["hang"]], timeout=PATIENCE_S) as response,
    ):
        next(response.iter_raw())
        emulator.process.send_signal(signal.SIGINT)
        wait_until(lambda: _refuses(emulator.url), "it accepts nothing more")
        assert emulator.stop() == 0
        assert emulator.processes() == []


def test_requests_past_the_maximum_get_429(tmp_path: Path) -> None:
    """`--max-concurrency` limits the number of concurrent invocations."""
    with (
        emulating(tmp_path, "--max-concurrency", "1", "--grace", "0", *SCRIPTED) as emulator,
        httpx.stream("POST", emulator.url, json=[["write", "x"], ["hang"]], timeout=PATIENCE_S) as response,
    ):
        next(response.iter_raw())
        assert ask(emulator).status_code == 429


def test_a_worker_killed_mid_response_truncates_it_and_the_next_request_works(emulator: Emulating) -> None:
    """The client can tell that the response is incomplete."""
    with httpx.stream("POST", emulator.url, json=[["write-pid"], ["hang"]], timeout=PATIENCE_S) as response:
        chunks = response.iter_raw()
        os.kill(int(next(chunks)), signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            next(chunks)
    assert ask(emulator, ["write", "next"]).text == "next"


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_a_signal_ends_it_well_and_leaves_no_process(emulator: Emulating, number: signal.Signals) -> None:
    """Environments that are frozen, have child processes or ignore SIGTERM are terminated too."""
    ask(emulator, ["ignore-terminate"], ["child"])
    wait_until(lambda: "REPORT" in emulator.log(), "the environment is idle")
    assert len(emulator.processes()) >= 3
    assert emulator.stop(number) == 0
    assert emulator.processes() == []
    assert "Traceback" not in emulator.log()


def test_a_running_response_is_completed_before_shutdown(tmp_path: Path) -> None:
    """Shutdown drains an invocation that finishes within the grace period."""
    with (
        emulating(tmp_path, "--grace", "10", *SCRIPTED) as emulator,
        socket.create_server(("127.0.0.1", 0)) as gate,
    ):
        gate.settimeout(PATIENCE_S)
        steps = [["write", "one"], ["gate", gate.getsockname()[1]], ["write", "two"]]
        with httpx.stream("POST", emulator.url, json=steps, timeout=PATIENCE_S) as response:
            chunks = response.iter_raw()
            assert next(chunks) == b"one"
            waiting, _ = gate.accept()
            emulator.process.send_signal(signal.SIGINT)
            wait_until(lambda: _refuses(emulator.url), "it accepts nothing more")
            with waiting:
                waiting.sendall(b"go\n")
            assert b"".join(chunks) == b"two"
        assert emulator.process.wait(PATIENCE_S) == 0
        assert emulator.processes() == []


def _refuses(url: str) -> bool:
    try:
        httpx.options(url, timeout=1.0)
    except httpx.TransportError:
        return True
    return False


def test_a_hanging_response_is_cut_off_after_the_grace_period(tmp_path: Path) -> None:
    """The client sees a truncated response; the exit status is still 0."""
    with emulating(tmp_path, "--grace", "0.2", *SCRIPTED) as emulator:
        steps = [["write", "one"], ["hang"]]
        with httpx.stream("POST", emulator.url, json=steps, timeout=PATIENCE_S) as response:
            chunks = response.iter_raw()
            assert next(chunks) == b"one"
            assert emulator.stop() == 0
            with pytest.raises(httpx.TransportError):
                next(chunks)
        assert emulator.processes() == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_nothing_is_left_even_when_the_emulator_itself_is_killed(emulator: Emulating) -> None:
    """Frozen environments, their child processes and busy ones that produce no output all end."""
    ask(emulator, ["child"])
    wait_until(lambda: "REPORT" in emulator.log(), "the environment is idle")
    with (
        httpx.stream("POST", emulator.url, json=[["child"], ["hang"]], timeout=PATIENCE_S) as first,
        httpx.stream("POST", emulator.url, json=[["child"], ["hang"]], timeout=PATIENCE_S) as second,
    ):
        next(first.iter_raw())
        next(second.iter_raw())
        assert len(emulator.processes()) >= 5
        emulator.process.kill()
        emulator.process.wait(PATIENCE_S)
        wait_until(lambda: not emulator.processes(), "all processes are gone")
