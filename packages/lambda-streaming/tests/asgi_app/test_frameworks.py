"""Apps of the frameworks, unchanged, in the runtime's real process behind the emulator's Function URL."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.emulating import Emulating, emulating
from support.patience import PATIENCE_S

APPS = Path(__file__).with_name("apps")
WARM_INVOCATIONS = 5


@contextlib.contextmanager
def app_behind_a_function_url(name: str, folder: Path) -> Iterator[Emulating]:
    """Serve `main.app`, with one environment."""
    shutil.copy(APPS / f"{name}.py", folder / "main.py")
    command = (sys.executable, "-m", "lambda_streaming", "main.app")
    # A busy machine may take longer to import a framework than Lambda gives an INIT phase.
    patient = ("--init-timeout", str(PATIENCE_S), "--timeout", str(PATIENCE_S))
    with emulating(folder, "--max-concurrency", "1", *patient, "--", *command) as emulator:
        yield emulator


class WhenFree(httpx.HTTPTransport):
    """Repeats a request while the only environment has not ended the invocation before, which gets a 429."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it until it is taken."""
        gives_up_at = time.monotonic() + PATIENCE_S
        while True:
            response = super().handle_request(request)
            if response.status_code != httpx.codes.TOO_MANY_REQUESTS or time.monotonic() > gives_up_at:
                return response
            response.close()
            time.sleep(0.01)


def client_of(emulator: Emulating) -> httpx.Client:
    return httpx.Client(base_url=emulator.url, timeout=PATIENCE_S, transport=WhenFree())


@contextlib.contextmanager
def gate() -> Iterator[tuple[int, socket.socket]]:
    """A port at which an app waits for the connection to be closed."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE_S)
        yield listening.getsockname()[1], listening


@pytest.fixture(scope="module")
def fastapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulating]:
    with app_behind_a_function_url("fastapi_app", tmp_path_factory.mktemp("fastapi")) as emulator:
        yield emulator


def test_a_fastapi_app_serves_warm_invocations_with_what_its_lifespan_started(fastapi: Emulating) -> None:
    """One process, one start-up, one background task of the process that lives on."""
    with client_of(fastapi) as client:
        seen = [client.get("/process") for _ in range(WARM_INVOCATIONS)]
    first = seen[0].json()
    assert first == {"pid": first["pid"], "pool": f"pool of {first['pid']}", "heart": False}
    assert [response.json() for response in seen] == [first] * WARM_INVOCATIONS
    assert {response.headers["x-stamp"] for response in seen} == {"/process"}
    assert fastapi.log().count("started up") == 1


def test_a_fastapi_app_sees_the_request_as_it_was_sent(fastapi: Emulating) -> None:
    """Path, repeated query parameters, cookies, headers in UTF-8, body, client, and the invocation's id."""
    with client_of(fastapi) as client:
        response = client.post(
            "/echo/a%2Fb%20c?tag=1&tag=2&empty=",
            content="häßlich",
            headers=[
                (b"cookie", b"x=1; sid=s1"),
                (b"x-name", "Torrejón".encode()),
                (b"content-type", b"text/plain"),
            ],
        )
    seen = response.json()
    assert seen.pop("request_id") == response.headers["x-amzn-requestid"]
    assert seen == {
        "name": "a/b c",
        "path": "/echo/a/b c",
        "raw_path": "/echo/a%2Fb%20c",
        "query": [["tag", "1"], ["tag", "2"], ["empty", ""]],
        "cookie": "s1",
        "client": "127.0.0.1",
        "body": "häßlich",
        "event_version": "2.0",
        "header": "Torrejón",
    }
    cookies = response.headers.get_list("set-cookie")
    assert [cookie.partition(";")[0] for cookie in cookies] == ["a=1", "b=2"]
    assert "x-amzn-remapped-content-length" not in response.headers


def test_a_line_arrives_before_the_next_one_is_written(fastapi: Emulating) -> None:
    """`StreamingResponse` streams, and its dependency is open until then."""
    for _ in range(WARM_INVOCATIONS):
        with (
            gate() as (port, listening),
            client_of(fastapi) as client,
            client.stream("GET", "/lines", params={"port": port}) as response,
        ):
            lines = response.iter_lines()
            assert next(lines) == "first of session"
            listening.accept()[0].close()
            assert list(lines) == ["second"]
    assert fastapi.log().count("session closed") >= WARM_INVOCATIONS - 1


def test_a_synchronous_endpoint_streams_too(fastapi: Emulating) -> None:
    """FastAPI runs it in threads."""
    with client_of(fastapi) as client:
        for _ in range(WARM_INVOCATIONS):
            assert client.get("/threaded").text == "0\n1\n2\n"


def test_a_task_of_the_lifespans_group_lives_on_when_its_request_is_over(fastapi: Emulating) -> None:
    """It began in an invocation, but cancelling it would end the group, and with it the app."""
    with client_of(fastapi) as client:
        for number in range(2):
            assert client.get("/sessions/begin").json() == number
            assert client.get("/sessions/end").json() == number + 1


def test_server_sent_events_arrive_each_time(fastapi: Emulating) -> None:
    """FastAPI's own, and those of sse-starlette, whose watcher lives as long as the process."""
    with client_of(fastapi) as client:
        for _ in range(WARM_INVOCATIONS):
            response = client.get("/events")
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.text.count("event: tick") == 3
            response = client.get("/native-events")
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.text.split() == [
                word for number in range(3) for word in ("data:", f'{{"number":{number}}}')
            ]
    assert "tasks were still running" not in fastapi.log()


def test_a_background_task_runs_after_the_last_byte_and_before_the_next_invocation(
    fastapi: Emulating,
) -> None:
    """The client has the whole response while the task still waits."""
    with client_of(fastapi) as client:
        for number in range(1, WARM_INVOCATIONS + 1):
            with gate() as (port, listening):
                assert client.get("/background", params={"port": port}).json() == {"accepted": True}
                assert fastapi.log().count("background task done") == number - 1
                listening.accept()[0].close()
                assert client.get("/empty").status_code == 204
                assert fastapi.log().count("background task done") == number


def test_a_client_is_never_seen_to_disconnect(fastapi: Emulating) -> None:
    """Lambda does not say; asking does not wait for it."""
    with client_of(fastapi) as client:
        assert client.get("/disconnected").json() is False


def test_an_error_of_an_endpoint_is_the_frameworks_500(fastapi: Emulating) -> None:
    """FastAPI responds and raises: the response stands, the traceback is in the log, the process lives."""
    with client_of(fastapi) as client:
        assert client.get("/boom").status_code == 500
        assert client.get("/process").status_code == 200
    assert "ValueError: boom in the endpoint" in fastapi.log()


def test_a_fastapi_app_shuts_down_when_its_environment_does(tmp_path: Path) -> None:
    """SIGTERM, whether it has served anything or not."""
    with app_behind_a_function_url("fastapi_app", tmp_path) as emulator:
        with client_of(emulator) as client:
            client.get("/empty")
        emulator.stop(signal.SIGINT)
        assert emulator.log().count("shut down") == 1


def test_a_starlette_app_streams_requests_files_and_mounted_routes(tmp_path: Path) -> None:
    """Its own state lives on."""
    with app_behind_a_function_url("starlette_app", tmp_path) as emulator, client_of(emulator) as client:
        for number in range(1, WARM_INVOCATIONS + 1):
            assert client.get("/v1/count").json() == {"count": number, "root": "/v1", "url": "/v1/count"}
            assert client.get("/source").content == (APPS / "starlette_app.py").read_bytes()
            assert client.head("/source").content == b""
            body = bytes(range(256)) * 100
            assert client.post("/stream", content=body).content == body
        assert "WARN" not in emulator.log()
        # A failure in mid-stream never looks complete, and the process goes on.
        with client.stream("GET", "/boom") as response:
            lines = response.iter_lines()
            assert next(lines) == "first"
            with pytest.raises(httpx.RemoteProtocolError):
                next(lines)
        assert "ValueError: boom in the stream" in emulator.log()
        assert client.get("/v1/count").json()["count"] == WARM_INVOCATIONS + 1


def test_a_litestar_app_streams(tmp_path: Path) -> None:
    """Lines and events, over warm invocations."""
    with app_behind_a_function_url("litestar_app", tmp_path) as emulator, client_of(emulator) as client:
        for number in range(1, WARM_INVOCATIONS + 1):
            assert client.get("/count").json() == {"count": number}
            assert client.get("/lines").text == "0\n1\n2\n"
            assert client.get("/events").text.count("data: ") == 3
        assert "WARN" not in emulator.log()


def test_a_django_project_streams_without_a_lifespan(tmp_path: Path) -> None:
    """Django refuses lifespans; that is not an error."""
    with app_behind_a_function_url("django_app", tmp_path) as emulator, client_of(emulator) as client:
        for _ in range(WARM_INVOCATIONS):
            seen = client.post("/seen/ä%20b?q=1&q=2", content="body")
            assert seen.json() == {"name": "ä b", "path": "/seen/ä b", "query": ["1", "2"], "body": "body"}
            assert len(seen.headers.get_list("set-cookie")) == 2
            assert client.get("/lines").text == "0\n1\n2\n"
            assert client.get("/sync").json() == {"method": "GET"}
        assert "WARN" not in emulator.log()
        assert "lifespan" not in emulator.log()


def test_an_mcp_server_answers_over_streamable_http(tmp_path: Path) -> None:
    """Its session manager, a task group of the lifespan, serves every invocation."""
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}
    with app_behind_a_function_url("mcp_app", tmp_path) as emulator, client_of(emulator) as client:
        for number in range(WARM_INVOCATIONS):
            call = {"name": "add", "arguments": {"a": number, "b": 1}}
            request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": call}
            response = client.post("/mcp", json=request, headers=headers)
            assert response.status_code == 200, (response.text, emulator.log())
            data = next(line for line in response.text.splitlines() if line.startswith("data: {"))
            result = json.loads(data.removeprefix("data: "))["result"]
            assert result["content"][0]["text"] == str(number + 1)


def test_a_wsgi_app_streams_through_a_bridge(tmp_path: Path) -> None:
    """Flask behind a2wsgi."""
    with app_behind_a_function_url("flask_app", tmp_path) as emulator, client_of(emulator) as client:
        for _ in range(WARM_INVOCATIONS):
            assert client.post("/echo?q=1&q=2", content="body").json() == {
                "query": ["1", "2"],
                "body": "body",
            }
            assert client.get("/lines").text == "0\n1\n2\n"
