"""What ends with an invocation: its context, its tasks, its response. Real processes, kept warm."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from support.scripted_runtime_api import ScriptedRuntimeApi, runtime

FUNCTIONS = "support.isolation_functions"


def test_a_context_variable_does_not_carry_one_user_to_the_next(api: ScriptedRuntimeApi, log: Path) -> None:
    """What a handler sets in its context is gone at the next invocation."""
    with runtime(api, f"{FUNCTIONS}.remembers_its_user", log):
        for name in ("alice", "bob", "carol"):
            api.give({"user": name})
            assert api.call().wait().body == b"nobody"


def test_a_handler_sees_what_its_own_wrapper_put_into_the_context(api: ScriptedRuntimeApi, log: Path) -> None:
    """A tracing decorator's span is the handler's, at each invocation anew."""
    with runtime(api, f"{FUNCTIONS}.named_by_a_wrapper", log):
        for name in ("alice", "bob"):
            api.give({"user": name})
            assert api.call().wait().body == f"wrapper of {name}".encode()


def test_work_that_ignores_its_cancellation_does_not_hang_the_function(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """The runtime gives it a moment, names it in the log, and asks for the next event."""
    with runtime(api, f"{FUNCTIONS}.leaves_stubborn_work", log) as process:
        api.give()
        assert api.call().wait().body == b"done"
        api.wait_until_asked()
        assert "[ERROR]" in process.log
        assert "ignore their cancellation" in process.log
        assert process.log.count("leaves_stubborn_work.<locals>.stubborn_work") == 2


def test_work_that_is_started_by_a_cancellation_is_cancelled_as_well(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Nothing that a handler began, at whatever remove, meets a later invocation."""
    with runtime(api, f"{FUNCTIONS}.leaves_work_that_leaves_work", log) as process:
        api.give()
        assert api.call().wait().body == b"done"
        process.wait_for_log("offspring cancelled")
        api.wait_until_asked()


def test_an_interrupt_ends_the_process_and_the_response_looks_broken(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Ctrl-C in the middle of a response is not taken for the handler's own cancellation."""
    with runtime(api, f"{FUNCTIONS}.waits_for_ever", log) as process:
        api.give()
        call = api.call()
        assert call.next_piece() == b"word"
        process.process.send_signal(signal.SIGINT)
        assert process.wait() == -signal.SIGINT
        call.wait()
    assert call.trailers["lambda-runtime-function-error-type"] == "HandlerCancelled"


@pytest.mark.parametrize("function", ["gives_up_its_first_write", "gives_up_its_end"])
def test_a_response_that_is_cancelled_as_it_begins_is_an_invocation_error(
    api: ScriptedRuntimeApi, log: Path, function: str
) -> None:
    """Never a payload without its prelude, and never an invocation that nobody answers."""
    with runtime(api, f"{FUNCTIONS}.{function}", log):
        api.give()
        call = api.call().wait()
        api.wait_until_asked()
    assert call.path.endswith("/error")
    assert json.loads(call.body)["errorType"] == "ResponseBroken"
    assert api.no_call()


def test_a_response_cannot_be_written_to_from_a_later_invocation(api: ScriptedRuntimeApi, log: Path) -> None:
    """A stream that a handler kept is dead, also where it was never ended."""
    with runtime(api, f"{FUNCTIONS}.writes_to_an_earlier_response", log):
        api.give(request_id="first")
        assert api.call().wait().trailers["lambda-runtime-function-error-type"] == "ValueError"
        api.give(request_id="second")
        call = api.call().wait()
    assert call.path == "/2018-06-01/runtime/invocation/second/response"
    assert call.body == b"refused"
    assert call.complete
