"""An invocation's context, tasks and response end with it, in real processes that are kept warm."""

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
    """Each invocation sees the span that a tracing decorator opened for it."""
    with runtime(api, f"{FUNCTIONS}.named_by_a_wrapper", log):
        for name in ("alice", "bob"):
            api.give({"user": name})
            assert api.call().wait().body == f"wrapper of {name}".encode()


def test_work_that_ignores_its_cancellation_does_not_hang_the_function(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """The runtime waits briefly, names the task in the log, and polls for the next event."""
    with runtime(api, f"{FUNCTIONS}.leaves_stubborn_work", log) as process:
        api.give()
        assert api.call().wait().body == b"done"
        api.wait_until_asked()
        assert "[ERROR]" in process.log
        assert "ignore their cancellation" in process.log
        assert process.log.count("leaves_stubborn_work.<locals>.stubborn_work") == 2


def test_tasks_started_during_cancellation_are_cancelled_too(api: ScriptedRuntimeApi, log: Path) -> None:
    """Nothing that a handler started, directly or indirectly, may run during a later invocation."""
    with runtime(api, f"{FUNCTIONS}.leaves_work_that_leaves_work", log) as process:
        api.give()
        assert api.call().wait().body == b"done"
        process.wait_for_log("offspring cancelled")
        api.wait_until_asked()


def test_an_interrupt_ends_the_process_and_the_response_looks_broken(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Ctrl-C during a response is not mistaken for the handler cancelling itself."""
    with runtime(api, f"{FUNCTIONS}.waits_for_ever", log) as process:
        api.give()
        call = api.call()
        assert call.next_piece() == b"word"
        process.process.send_signal(signal.SIGINT)
        assert process.wait() == -signal.SIGINT
        call.wait()
    assert call.trailers["lambda-runtime-function-error-type"] == "HandlerCancelled"


@pytest.mark.parametrize("function", ["gives_up_its_first_write", "gives_up_its_end"])
def test_a_response_cancelled_at_its_start_is_an_invocation_error(
    api: ScriptedRuntimeApi, log: Path, function: str
) -> None:
    """A payload is never sent without its prelude, and no invocation is left without a result."""
    with runtime(api, f"{FUNCTIONS}.{function}", log):
        api.give()
        call = api.call().wait()
        api.wait_until_asked()
    assert call.path.endswith("/error")
    assert json.loads(call.body)["errorType"] == "ResponseBroken"
    assert api.no_call()


def test_a_response_cannot_be_written_to_from_a_later_invocation(api: ScriptedRuntimeApi, log: Path) -> None:
    """A stream that a handler keeps is closed, even if the handler never ended it."""
    with runtime(api, f"{FUNCTIONS}.writes_to_an_earlier_response", log):
        api.give(request_id="first")
        assert api.call().wait().trailers["lambda-runtime-function-error-type"] == "ValueError"
        api.give(request_id="second")
        call = api.call().wait()
    assert call.path == "/2018-06-01/runtime/invocation/second/response"
    assert call.body == b"refused"
    assert call.complete
