"""What still holds without the native extension, under the stock runtime, and from a wheel alone."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.places import LAMBDA_STREAMING
from support.recorded_calls import EVENTS, PLAIN, WITHOUT_EXTENSION, record
from support.scripted_runtime_api import runtime, scripted_runtime_api

WRAPPER = LAMBDA_STREAMING / "src" / "lambda_streaming" / "exec-wrapper"


@pytest.mark.parametrize("environment", ["", "AWS_Lambda_python3.13"], ids=["plain", "thread polling"])
def test_a_plain_handler_sends_the_same_under_the_portable_and_the_native_client(
    tmp_path: Path, environment: str
) -> None:
    """Method, path, body and significant headers are equal: one contract, two clients."""
    execution_env = {"AWS_EXECUTION_ENV": environment} if environment else {}
    command = [sys.executable, "-c", WITHOUT_EXTENSION, PLAIN]
    portable, _ = record(tmp_path / "portable", PLAIN, EVENTS, command=command, environment=execution_env)
    native, _ = record(tmp_path / "native", PLAIN, EVENTS, environment=execution_env)
    meaning = ("content-type", "content-length", "user-agent", "lambda-runtime-invocation-id")
    xray = "lambda-runtime-function-xray-error-cause"
    for ours, theirs in zip(portable, native, strict=True):
        assert (ours.method, ours.path, ours.body) == (theirs.method, theirs.path, theirs.body)
        assert [ours.headers.get(name) for name in meaning] == [theirs.headers.get(name) for name in meaning]
        assert ours.headers.get(xray) == (theirs.headers.get(xray) or None)


@pytest.mark.parametrize("portable", [False, True], ids=["native", "portable"])
def test_a_connection_closed_while_idle_is_reopened(tmp_path: Path, portable: bool) -> None:
    """The Runtime API may close a keep-alive connection; no result may be lost."""
    handler = "support.streaming_functions.plain_at_a_gate"
    command = [sys.executable, "-c", WITHOUT_EXTENSION, handler] if portable else None
    with (
        socket.create_server(("127.0.0.1", 0)) as gate,
        scripted_runtime_api() as api,
        runtime(api, handler, tmp_path / "log", command=command),
    ):
        api.give({"gate": gate.getsockname()[1]})
        waiting, _ = gate.accept()
        api.break_every_connection()
        waiting.close()
        assert api.call().wait().body == b'"passed"'
        api.wait_until_asked()


def test_a_streaming_handler_streams_under_the_portable_client(tmp_path: Path) -> None:
    """On macOS awslambdaric has no native extension, and streaming must work there too."""
    handler = "support.streaming_functions.words"
    command = [sys.executable, "-c", WITHOUT_EXTENSION, handler]
    calls, _ = record(tmp_path / "log", handler, [{"words": ["a", "b"]}] * 3, command=command)
    assert [bytes(call.body) for call in calls] == [b"ab"] * 3
    assert all(call.complete for call in calls)


def test_a_streaming_handler_under_the_stock_runtime_is_buffered(tmp_path: Path) -> None:
    """The result has the form that a proxy integration understands; one warning says what to configure."""
    metadata = {"statusCode": 201, "headers": {"Content-Type": "text/plain"}, "cookies": ["a=1"]}
    events: list[dict[str, object]] = [{"metadata": metadata, "words": ["grü", "n"]}] * 2
    calls, log = record(tmp_path / "log", "support.streaming_functions.http", events, module="awslambdaric")
    for call in calls:
        assert call.headers["content-type"] == "application/json"
        assert json.loads(call.body) == {
            "statusCode": 201,
            "headers": {"Content-Type": "text/plain"},
            "cookies": ["a=1"],
            "body": "grün",
            "isBase64Encoded": False,
        }
    assert log.count("AWS_LAMBDA_EXEC_WRAPPER") == 1


def test_bytes_under_the_stock_runtime_are_base64(tmp_path: Path) -> None:
    """Without a prelude the response is a 200 of the declared type; a single piece causes no warning."""
    calls, log = record(
        tmp_path / "log",
        "support.streaming_functions.words",
        [{"words": ["\u00ff"]}],
        module="awslambdaric",
    )
    assert "AWS_LAMBDA_EXEC_WRAPPER" not in log
    assert json.loads(calls[0].body) == {
        "statusCode": 200,
        "headers": {"content-type": "application/octet-stream"},
        "cookies": [],
        "body": "w78=",
        "isBase64Encoded": True,
    }


def test_an_error_under_the_stock_runtime_is_an_invocation_error(tmp_path: Path) -> None:
    """This holds even after a write, because nothing has left the process yet."""
    event: dict[str, object] = {"words": ["x"], "message": "no"}
    calls, _ = record(tmp_path / "log", "support.streaming_functions.fails", [event], module="awslambdaric")
    assert calls[0].path.endswith("/error")
    assert json.loads(calls[0].body)["errorType"] == "ValueError"


def test_the_exec_wrapper_started_by_hand_says_what_it_is_for() -> None:
    """It exits with the usage error of `sysexits.h`."""
    started = subprocess.run([WRAPPER], stderr=subprocess.PIPE, check=False)
    assert started.returncode == 64
    assert b"AWS_LAMBDA_EXEC_WRAPPER" in started.stderr


def test_the_exec_wrapper_is_packaged_and_can_be_executed(tmp_path: Path) -> None:
    """Installed from a wheel, it is in the package's folder, with its executable bit set."""
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=LAMBDA_STREAMING,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        wrapper = packed.getinfo("lambda_streaming/exec-wrapper")
    assert wrapper.external_attr >> 16 & 0o111 == 0o111
