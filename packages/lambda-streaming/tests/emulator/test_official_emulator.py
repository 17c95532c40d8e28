"""Our runtime under AWS's own emulator, which buffers what it reads and has no Function URL."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.official_clients import official_emulator
from support.patience import PATIENCE_S

pytestmark = pytest.mark.peer

APP = """
from lambda_streaming import HttpResponseStream, streamify_response

@streamify_response
async def handler(event, stream, context):
    if event.get("prelude"):
        stream = HttpResponseStream.from_(stream, {"statusCode": 201})
    if event.get("fails") == "before":
        raise ValueError("no")
    await stream.write("one,")
    if event.get("fails") == "after":
        raise ValueError("no")
    await stream.write("two")
"""


def _free_ports() -> tuple[int, int]:
    """Two ports that nobody uses; this emulator cannot choose any itself."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL at which the emulator invokes the function."""
    program = official_emulator()
    folder = tmp_path_factory.mktemp("rie")
    (folder / "app.py").write_text(APP)
    port, runtime_api = _free_ports()
    command = [
        str(program),
        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{runtime_api}"),
        *(sys.executable, "-m", "lambda_streaming", "app.handler"),
    ]
    with Path(folder / "rie.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline, "the emulator does not listen"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return


def _invoke(url: str, event: dict[str, object]) -> httpx.Response:
    return httpx.post(url, json=event, timeout=PATIENCE_S)


def test_streamed_responses_are_accepted_again_and_again(function: str) -> None:
    """The whole response arrives, with its prelude where it has one."""
    for _ in range(3):
        assert _invoke(function, {}).content == b"one,two"
    assert _invoke(function, {"prelude": True}).content.endswith(b"\0" * 8 + b"one,two")


def test_an_error_before_the_first_byte_is_the_functions_report(function: str) -> None:
    """It has the function's own frames only, and the next invocation works."""
    error = _invoke(function, {"fails": "before"}).json()
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no")
    (frame,) = error["stackTrace"]
    assert "app.py" in frame
    assert _invoke(function, {}).content == b"one,two"


def test_an_error_in_mid_response_does_not_harm_the_next_invocation(function: str) -> None:
    """This emulator passes on what it has; the trailers with the error do not confuse it."""
    assert _invoke(function, {"fails": "after"}).content == b"one,"
    assert _invoke(function, {}).content == b"one,two"
