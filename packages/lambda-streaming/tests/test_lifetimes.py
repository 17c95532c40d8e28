"""What lives longer than an invocation, and what does not. Real processes."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.patience import PATIENCE_S
from support.places import LAMBDA_STREAMING
from support.scripted_runtime_api import ScriptedRuntimeApi, runtime

WRAPPER = LAMBDA_STREAMING / "src" / "lambda_streaming" / "exec-wrapper"
FUNCTIONS = "support.lifetime_functions"


def test_a_lifespan_starts_before_the_first_event_and_ends_with_the_process(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Entered once in INIT; its task lives on from invocation to invocation, and is cancelled at the end."""
    with runtime(api, f"{FUNCTIONS}.with_lifespan", log) as process:
        api.wait_until_asked()
        assert process.log.splitlines() == ["started"]
        api.asked.release()
        seen = set()
        for _ in range(3):
            api.give()
            seen.add(bytes(api.call().wait().body))
        api.wait_until_asked()
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
    (state,) = seen
    assert state.startswith(b"True ")
    assert state.endswith(b" False")
    assert process.log.splitlines() == ["started", "stopped", "task of the process cancelled"]


def test_a_shutdown_during_an_invocation_ends_that_first(api: ScriptedRuntimeApi, log: Path) -> None:
    """The response breaks off, then the lifespan is left."""
    with runtime(api, f"{FUNCTIONS}.with_lifespan", log) as process:
        api.give({"wait": True})
        call = api.call()
        call.next_piece()
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
        assert call.wait().trailers["lambda-runtime-function-error-type"] == "HandlerCancelled"
    assert process.log.splitlines() == ["started", "stopped", "task of the process cancelled"]


@pytest.mark.parametrize("waiting", [False, True], ids=["idle", "during an invocation"])
def test_another_handler_of_the_signal_runs_as_well(
    api: ScriptedRuntimeApi, log: Path, waiting: bool
) -> None:
    """A tool's or the function's own: after the lifespan is left, or at once if an invocation is running."""
    with runtime(api, f"{FUNCTIONS}.with_signal_handler", log) as process:
        api.give({"wait": waiting})
        call = api.call()
        call.next_piece()
        if not waiting:
            call.wait()
            api.wait_until_asked()
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == 3
    stopped = ["stopped", "task of the process cancelled"]
    expected = ["signal handler", *stopped] if waiting else [*stopped, "signal handler"]
    assert [line for line in process.log.splitlines() if line in expected] == expected


def test_a_lifespan_that_does_not_stop_is_cut_short(api: ScriptedRuntimeApi, log: Path) -> None:
    """Lambda would kill the process; the log says why it took so long."""
    with runtime(api, f"{FUNCTIONS}.does_not_stop", log) as process:
        api.give()
        assert b"word" in api.call().wait().body
        api.wait_until_asked()
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
    assert "The lifespan has not shut down within" in process.log


@pytest.mark.parametrize("function", ["fails_to_start", "fails_its_startup"])
def test_a_lifespan_that_fails_is_an_init_error_with_its_own_traceback(
    api: ScriptedRuntimeApi, log: Path, function: str
) -> None:
    """A handler's, and an ASGI app's: the first frame is the function's, none is of an event loop."""
    with runtime(api, f"{FUNCTIONS}.{function}", log) as process:
        call = api.call().wait()
        assert process.wait() == 1
    error = json.loads(call.body)
    assert call.path.endswith("/init/error")
    assert error["errorType"] == "LookupError"
    assert error["errorMessage"].startswith("no database")
    assert "lifetime_functions.py" in error["stackTrace"][0]
    assert not any("asyncio" in frame or "/lambda_streaming/" in frame for frame in error["stackTrace"])
    assert "LookupError: no database" in process.log


def test_with_snapstart_a_lifespan_starts_after_the_restore(api: ScriptedRuntimeApi, log: Path) -> None:
    """A connection would not survive the snapshot."""
    environment = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    with runtime(api, f"{FUNCTIONS}.with_lifespan", log, environment=environment) as process:
        restored = api.call().wait()
        assert restored.path.endswith("/restore/next")
        api.wait_until_asked()
        assert process.log.splitlines() == ["started"]


def test_a_task_that_is_started_for_the_process_lives_on(api: ScriptedRuntimeApi, log: Path) -> None:
    """`process_long`, for clients that start their tasks when they are first used."""
    with runtime(api, f"{FUNCTIONS}.keeps_a_task", log) as process:
        for _ in range(2):
            api.give()
            assert api.call().wait().body == b"False"
        api.wait_until_asked()
    assert process.log == ""


def test_generators_that_an_invocation_began_are_closed_with_it(api: ScriptedRuntimeApi, log: Path) -> None:
    """In its context, before the next event is asked for, whether something still refers to them or not."""
    with runtime(api, f"{FUNCTIONS}.abandons_generators", log) as process:
        for request in ("first", "second"):
            api.give(request_id=request)
            assert api.call().wait().body == b"ok"
            api.wait_until_asked()
            api.asked.release()
            closed = {line for line in process.log.splitlines() if request in line}
            assert closed == {
                f"generator of {request}-cycle closed for {request}",
                f"generator of {request}-dropped closed for {request}",
            }
    assert "WARN" not in process.log


@contextmanager
def database() -> Iterator[int]:
    """A port that answers each line with itself."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE_S)

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    connection.sendall(line)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join(PATIENCE_S)


def test_what_a_module_opened_on_its_own_loop_works_and_its_sigterm_hook_runs(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Invocations use that loop; the hook runs without `AWS_EXECUTION_ENV`, as in a container image."""
    with database() as port:
        environment = {"DATABASE_PORT": str(port)}
        with runtime(api, "support.import_time_functions.handler", log, environment=environment) as process:
            for _ in range(2):
                api.give()
                assert api.call().wait().body == b"hi\n"
            api.wait_until_asked()
            process.process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
    assert process.log.splitlines() == ["SIGTERM hook ran"]


def rest_event(**more: object) -> dict[str, Any]:
    return {
        "httpMethod": "GET",
        "path": "/hi",
        "requestContext": {"path": "/prod/hi", "stage": "prod"},
        **more,
    }


def test_an_asgi_app_responds_as_each_service_wants_it(api: ScriptedRuntimeApi, log: Path) -> None:
    """A REST API gets a stream, a load balancer a whole result. The app has no lifespan."""
    with runtime(api, f"{FUNCTIONS}.app", log) as process:
        api.give(rest_event())
        streamed = api.call().wait()
        prelude, _, body = bytes(streamed.body).partition(b"\0" * 8)
        assert streamed.headers["lambda-runtime-function-response-mode"] == "streaming"
        assert json.loads(prelude) == {
            "statusCode": 201,
            "headers": {"content-type": "text/plain", "x-latin": "ó", "link": "</a>, </b>"},
            "multiValueHeaders": {"link": ["</a>", "</b>"]},
            "cookies": ["a=1", "b=2"],
        }
        assert body == b"GET /prod /prod/hi"
        api.give(rest_event(requestContext={"elb": {}}, multiValueHeaders={}))
        whole = api.call().wait()
        assert "lambda-runtime-function-response-mode" not in whole.headers
        assert json.loads(whole.body) == {
            "statusCode": 201,
            "statusDescription": "201 Created",
            "multiValueHeaders": {
                "content-type": ["text/plain"],
                "x-latin": ["ó"],
                "link": ["</a>", "</b>"],
                "set-cookie": ["a=1", "b=2"],
            },
            "body": "GET  /hi",
            "isBase64Encoded": False,
        }
        api.give({"Records": []})
        refused = api.call().wait()
        assert refused.path.endswith("/error")
        assert json.loads(refused.body)["errorType"] == "UnsupportedEvent"
    assert "lifespan" not in process.log


def test_the_exec_wrapper_serves_the_app_that_the_handler_setting_names(
    api: ScriptedRuntimeApi, log: Path, tmp_path: Path
) -> None:
    """As a managed runtime starts it: `_HANDLER=main.app`, found in the task root."""
    (tmp_path / "main.py").write_text("from support.lifetime_functions import app\n")
    environment = {"LAMBDA_TASK_ROOT": str(tmp_path), "_HANDLER": "main.app"}
    command = [str(WRAPPER), sys.executable, "/var/runtime/bootstrap.py"]
    with runtime(api, "", log, command=command, environment=environment):
        api.give(rest_event())
        assert api.call().wait().body.endswith(b"GET /prod /prod/hi")


def test_a_handler_that_no_event_can_be_given_to_is_an_init_error(api: ScriptedRuntimeApi, log: Path) -> None:
    """Not an error of each invocation."""
    with runtime(api, f"{FUNCTIONS}.user", log) as process:
        call = api.call().wait()
        assert process.wait() == 1
    assert json.loads(call.body)["errorType"] == "Runtime.UnusableHandler"
    assert "is ContextVar, neither a function nor an ASGI app" in process.log
    environment = {"LAMBDA_STREAMING_RESPONSE_MODE": "streamed"}
    with runtime(api, f"{FUNCTIONS}.app", log, environment=environment) as process:
        call = api.call().wait()
        assert process.wait() == 1
    assert "it is one of auto, stream, buffered" in json.loads(call.body)["errorMessage"]
