"""What a monitoring tool must find and may do, shown without any; `tools/` has the tools themselves."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from support.places import LAMBDA_STREAMING, TESTS
from support.scripted_runtime_api import ScriptedRuntimeApi, runtime
from support.url_event import url_event

FUNCTIONS = "support.instrumented_functions"
WRAPPER = LAMBDA_STREAMING / "src" / "lambda_streaming" / "exec-wrapper"
STREAMED = "recorded {'statusCode': 201, 'headers': {'x-a': 'b'}}"


@pytest.mark.parametrize("started", ["container", "managed runtime"])
def test_a_tool_finds_the_stock_runtime_and_sees_status_and_end_of_each_response(
    api: ScriptedRuntimeApi, log: Path, started: str
) -> None:
    """What it hooks into runs before the next event is asked for; cookies are no part of what it is shown."""
    command = None if started == "container" else [str(WRAPPER), sys.executable, "/var/runtime/bootstrap.py"]
    environment = {"LAMBDA_TASK_ROOT": str(TESTS), "_HANDLER": f"{FUNCTIONS}.handler"}
    with runtime(api, f"{FUNCTIONS}.handler", log, command=command, environment=environment) as process:
        api.give({})
        assert api.call().wait().complete
        api.wait_until_asked()
        assert process.log.splitlines() == ["started", STREAMED, "sent what was recorded"]
        api.asked.release()
        api.give({"fails": True})
        assert api.call().wait().trailers
        api.wait_until_asked()
    assert process.log.count("sent what was recorded") == 2
    assert api.no_call()


def test_a_wrapper_may_return_something_else_than_the_handler(api: ScriptedRuntimeApi, log: Path) -> None:
    """Nothing is posted for a response that has been streamed: Lambda would refuse it."""
    with runtime(api, f"{FUNCTIONS}.handler", log):
        for _ in range(2):
            api.give({"result": None})
            assert api.call().wait().complete
        api.wait_until_asked()
        assert api.no_call()


@pytest.mark.parametrize(
    ("function", "in_init"),
    [
        ("handler", True),
        ("decorated", True),
        ("redirected", False),
        ("redirected_to_app", False),
        ("hidden", False),
    ],
)
def test_the_lifespan_of_a_wrapped_handler_runs_once(
    api: ScriptedRuntimeApi, log: Path, function: str, in_init: bool
) -> None:
    """In INIT where the runtime can see it, else at the first invocation; it is left in any case."""
    with runtime(api, f"{FUNCTIONS}.{function}", log) as process:
        api.wait_until_asked()
        assert process.log.splitlines() == (["started"] if in_init else [])
        api.asked.release()
        for _ in range(2):
            api.give(url_event())
            assert b"one" in api.call().wait().body
        api.wait_until_asked()
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
    assert [line for line in process.log.splitlines() if line in {"started", "stopped"}] == [
        "started",
        "stopped",
    ]
    assert process.log.splitlines()[-1] == "stopped"


@pytest.mark.parametrize("order", ["theirs first", "ours first", "ours first, by a variable"])
def test_another_exec_wrapper_may_be_in_front_of_ours_or_behind_it(
    api: ScriptedRuntimeApi, log: Path, tmp_path: Path, order: str
) -> None:
    """It sets variables, redirects the handler and adds options of the interpreter, in any order."""
    theirs = tmp_path / "another wrapper"
    theirs.write_text(f'#!/bin/sh\nexport ORIGINAL="$_HANDLER" _HANDLER={FUNCTIONS}.hidden\nexec "$@"\n')
    theirs.chmod(0o755)
    stock = [sys.executable, "-X", "utf8", "/var/runtime/bootstrap.py"]
    wrappers = {
        "theirs first": [str(theirs), str(WRAPPER)],
        "ours first": [str(WRAPPER), str(theirs)],
        "ours first, by a variable": [str(WRAPPER)],
    }
    environment = {"LAMBDA_TASK_ROOT": str(TESTS), "_HANDLER": "nothing.here"}
    if order.endswith("variable"):
        environment["LAMBDA_STREAMING_EXEC_WRAPPER"] = str(theirs)
    with runtime(api, "", log, command=[*wrappers[order], *stock], environment=environment) as process:
        api.give({})
        assert b"one" in api.call().wait().body
        api.wait_until_asked()
    assert STREAMED in process.log
