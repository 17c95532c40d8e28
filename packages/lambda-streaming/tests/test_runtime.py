"""The runtime as Lambda sees it: a real process, its exact bytes and the ways it ends."""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path

import pytest

from support.scripted_runtime_api import (
    ScriptedRuntimeApi,
    body_on_the_wire,
    runtime,
)

FUNCTIONS = "support.streaming_functions"
MEGABYTE = 1024 * 1024


def test_a_streamed_response_is_one_chunked_post_with_declared_trailers(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Head, chunks and last chunk are exactly what the guide for custom runtimes requires."""
    with runtime(api, f"{FUNCTIONS}.words", log) as process:
        api.give({"words": ["one", "zwölf"]}, request_id="r/1", invocation_id="attempt-1")
        call = api.call().wait()
        api.wait_until_asked()
    head = bytes(call.raw).partition(b"\r\n\r\n")[0].decode().split("\r\n")
    agent = next(line for line in head if line.startswith("User-Agent: aws-lambda-python/"))
    assert head == [
        "POST /2018-06-01/runtime/invocation/r%2F1/response HTTP/1.1",
        f"Host: {api.address}",
        agent,
        "Content-Type: application/octet-stream",
        "Lambda-Runtime-Function-Response-Mode: streaming",
        "Transfer-Encoding: chunked",
        "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
        "Lambda-Runtime-Invocation-Id: attempt-1",
    ]
    assert body_on_the_wire(call) == "3\r\none\r\n6\r\nzwölf\r\n0\r\n\r\n".encode()
    assert process.log == ""


def test_bytes_are_passed_through_though_a_write_ends_inside_a_character(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """The runtime does not interpret bytes: one write is one chunk, and the text arrives whole."""
    with runtime(api, f"{FUNCTIONS}.cuts_a_character", log):
        api.give()
        body = body_on_the_wire(api.call().wait())
    assert body == b"1\r\n\xf0\r\n3\r\n\x9f\x8f\x83\r\n4\r\n\xf0\x9f\x8f\x83\r\n0\r\n\r\n"


def test_an_error_after_the_end_does_not_touch_the_response(api: ScriptedRuntimeApi, log: Path) -> None:
    """The response is complete, so the error is only logged."""
    with runtime(api, f"{FUNCTIONS}.fails", log) as process:
        api.give({"words": ["whole"], "end": True, "message": "after the end"})
        call = api.call().wait()
        api.wait_until_asked()
    assert call.complete
    assert call.trailers == {}
    assert api.no_call()
    assert "after the end" in process.log


def test_an_async_generator_streams_what_it_yields(api: ScriptedRuntimeApi, log: Path) -> None:
    """One yield is one chunk."""
    with runtime(api, f"{FUNCTIONS}.yields", log):
        api.give({"words": ["one", "two"]})
        assert body_on_the_wire(api.call().wait()) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


def test_a_tracing_decorator_does_not_stop_the_stream(api: ScriptedRuntimeApi, log: Path) -> None:
    """A handler wrapped with `functools.wraps` streams as before."""
    with runtime(api, f"{FUNCTIONS}.traced_words", log) as process:
        api.give({"words": ["one", "two"]})
        assert body_on_the_wire(api.call().wait()) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        process.wait_for_log("traced")


def test_six_megabytes_arrive_to_the_byte(api: ScriptedRuntimeApi, log: Path) -> None:
    """A large response is not altered."""
    with runtime(api, f"{FUNCTIONS}.megabytes", log):
        api.give({"count": 6})
        assert api.call().wait().body == b"".join(bytes([number]) * MEGABYTE for number in range(6))


@pytest.mark.parametrize("status", [400, 413])
def test_an_early_refusal_ends_the_write_instead_of_hanging_it(
    api: ScriptedRuntimeApi, log: Path, status: int
) -> None:
    """If Lambda responds early and stops reading, the write raises and the runtime stays alive."""
    api.answer_early = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    with runtime(api, f"{FUNCTIONS}.megabytes", log) as process:
        api.read_on.set()
        api.give({"count": 64})
        call = api.call()
        api.read_on.clear()
        process.wait_for_log(f"ResponseBroken: Lambda ended the response early, with status {status}")
        api.read_on.set()
        api.wait_until_asked()
        assert not call.wait().complete
        assert process.process.poll() is None


def test_a_lost_connection_is_an_error_of_the_write(api: ScriptedRuntimeApi, log: Path) -> None:
    """The handler gets an error because its response cannot arrive; the next invocation works."""
    with (
        socket.create_server(("127.0.0.1", 0)) as gate,
        runtime(api, f"{FUNCTIONS}.meets_others", log) as process,
    ):
        api.give({"gate": gate.getsockname()[1]}, request_id="lost")
        assert api.call().next_piece() == b"lost"
        waiting, _ = gate.accept()
        api.break_connections()
        waiting.close()
        process.wait_for_log("ResponseBroken: The connection to the Runtime API was lost")
        api.give({"gate": gate.getsockname()[1]}, request_id="next")
        call = api.call()
        gate.accept()[0].close()
        assert call.wait().body == b"nextnext"


def test_responses_share_a_connection_until_it_is_closed(api: ScriptedRuntimeApi, log: Path) -> None:
    """The connection is kept alive between invocations; one closed in the meantime is not reused."""
    with runtime(api, f"{FUNCTIONS}.words", log) as process:
        for number in range(3):
            api.give({"words": [f"{number}"]})
            assert api.call().wait().body == f"{number}".encode()
        api.wait_until_asked()
        api.asked.release()
        assert api.connections == 2, "one for events, one for responses"
        api.break_connections()
        api.give({"words": ["after"]})
        assert api.call().wait().body == b"after"
        api.wait_until_asked()
    assert api.connections == 3
    assert process.log == ""


def test_a_response_that_is_refused_at_its_end_is_logged(api: ScriptedRuntimeApi, log: Path) -> None:
    """A late refusal can only be logged; the runtime continues."""
    api.status = 403
    with runtime(api, f"{FUNCTIONS}.words", log) as process:
        api.give({"words": ["x"]})
        api.call().wait()
        process.wait_for_log("req-1\tThe response was not accepted: status 403")
        api.wait_until_asked()


@pytest.mark.parametrize("function", ["exits", "exits_in_a_task"])
def test_a_handler_that_exits_breaks_the_response_off(
    api: ScriptedRuntimeApi, log: Path, function: str
) -> None:
    """`sys.exit` ends the process, as under the stock runtime, and the response is visibly incomplete."""
    with runtime(api, f"{FUNCTIONS}.{function}", log) as process:
        api.give()
        call = api.call().wait()
        assert process.wait() == 7
    assert call.body == b"word"
    assert not call.complete


def test_a_cancellation_that_escapes_is_an_ordinary_error(api: ScriptedRuntimeApi, log: Path) -> None:
    """`CancelledError` is not an `Exception`, but it must not end the process."""
    with runtime(api, f"{FUNCTIONS}.cancels_itself", log):
        api.give()
        call = api.call().wait()
        api.wait_until_asked()
    assert call.path.endswith("/error")
    assert json.loads(call.body)["errorType"] == "HandlerCancelled"


def test_work_left_behind_is_cancelled_and_named_in_the_log(api: ScriptedRuntimeApi, log: Path) -> None:
    """A task that outlived its invocation would resume during a later one."""
    with runtime(api, f"{FUNCTIONS}.leaves_work", log) as process:
        api.give()
        assert api.call().wait().body == b"done"
        process.wait_for_log("leaves_work.<locals>.forgotten_work")


def test_one_event_loop_serves_all_invocations(api: ScriptedRuntimeApi, log: Path) -> None:
    """Clients keep their open connections between invocations."""
    with runtime(api, f"{FUNCTIONS}.counts_loops", log):
        api.give()
        first = api.call().wait().body
        api.give()
        assert api.call().wait().body == first


def test_without_a_handler_or_an_address_the_program_says_what_it_needs(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Someone who starts it by hand sees how it is meant to be started."""
    with runtime(api, "", log, command=[sys.executable, "-m", "lambda_streaming"]) as process:
        assert process.wait() == 1
        assert "The handler is missing" in process.log
    command = ["env", "-u", "AWS_LAMBDA_RUNTIME_API", sys.executable, "-m", "lambda_streaming", "a.b"]
    with runtime(api, "", log, command=command) as process:
        assert process.wait() == 1
        assert "lambda_streaming.emulator" in process.log
    with runtime(api, "", log, command=[sys.executable, "-m", "lambda_streaming", "--help"]) as process:
        assert process.wait() == 0
        assert "usage: python -m lambda_streaming HANDLER" in process.log


def test_a_shutdown_in_the_middle_of_a_response_breaks_it_off(api: ScriptedRuntimeApi, log: Path) -> None:
    """SIGTERM cancels the handler and ends the process; the response is visibly incomplete."""
    with runtime(api, "support.isolation_functions.waits_for_ever", log) as process:
        api.give()
        call = api.call()
        assert call.next_piece() == b"word"
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
        assert b"Lambda-Runtime-Function-Error-Type: HandlerCancelled" in bytes(call.wait().raw)


def test_a_handler_saves_what_it_has_when_its_process_is_shut_down(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """After cleanup the process dies of the same signal; a second signal does not cut the cleanup short."""
    with runtime(api, "support.isolation_functions.saves_when_cancelled", log) as process:
        api.give()
        call = api.call()
        assert call.next_piece() == b"word"
        process.process.send_signal(signal.SIGTERM)
        assert call.next_piece() == b"saving"
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
        assert process.log.splitlines() == ["saved"]


def test_a_users_own_sigterm_handler_is_left_in_place(api: ScriptedRuntimeApi, log: Path) -> None:
    """It runs during the invocation, which then continues."""
    with runtime(api, "support.isolation_functions.has_its_own_handler", log) as process:
        api.give()
        body = body_on_the_wire(api.call().wait())
        api.wait_until_asked()
    assert body == b"8\r\nhandled \r\n4\r\nword\r\n0\r\n\r\n"
    assert process.log == ""
