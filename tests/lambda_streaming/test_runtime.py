"""The runtime as Lambda sees it: a real process, its exact bytes, its endings."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.scripted_runtime_api import Call, Runtime, ScriptedRuntimeApi, runtime, scripted_runtime_api

FUNCTIONS = "support.streaming_functions"
MEGABYTE = 1024 * 1024


@pytest.fixture
def api() -> Iterator[ScriptedRuntimeApi]:
    with scripted_runtime_api() as served:
        yield served


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "runtime.log"


def _body_on_the_wire(call: Call) -> bytes:
    return bytes(call.raw).partition(b"\r\n\r\n")[2]


def _error_of(call: Call) -> dict[str, object]:
    error: dict[str, object] = json.loads(
        base64.b64decode(call.trailers["lambda-runtime-function-error-body"])
    )
    return error


def test_a_streamed_response_is_one_chunked_post_with_declared_trailers(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Head, chunks and last chunk are exactly what the guide asks of a custom runtime."""
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
    assert _body_on_the_wire(call) == "3\r\none\r\n6\r\nzwölf\r\n0\r\n\r\n".encode()
    assert process.log == ""


def test_conformance_01_each_write_arrives_before_the_handler_goes_on(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """A piece is with Lambda while the handler still waits for something else."""
    with (
        socket.create_server(("127.0.0.1", 0)) as gate,
        runtime(api, f"{FUNCTIONS}.meets_others", log),
    ):
        api.give({"gate": gate.getsockname()[1]}, request_id="first")
        call = api.call()
        assert call.next_piece() == b"first"
        waiting, _ = gate.accept()
        assert not call.complete
        waiting.close()
        assert call.wait().body == b"firstfirst"


def test_conformance_02_a_prelude_goes_first_in_a_chunk_of_its_own(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Status, headers and cookies, eight NULs, then the payload, under the content type for it."""
    metadata = {"statusCode": 201, "headers": {"x-a": "b\u00fc"}, "cookies": ["a=1", "b=2"]}
    with runtime(api, f"{FUNCTIONS}.http", log):
        api.give({"metadata": metadata, "words": ["one"]})
        call = api.call().wait()
    assert call.headers["content-type"] == "application/vnd.awslambda.http-integration-response"
    prelude = '{"statusCode":201,"headers":{"x-a":"bü"},"cookies":["a=1","b=2"]}'.encode() + b"\0" * 8
    assert _body_on_the_wire(call) == b"%x\r\n%s\r\n3\r\none\r\n0\r\n\r\n" % (len(prelude), prelude)


def test_conformance_04_the_content_type_is_the_handlers_or_octet_stream(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """`set_content_type` before the first write decides how the response is posted."""
    for function, announced in (("typed", "text/plain"), ("words", "application/octet-stream")):
        with runtime(api, f"{FUNCTIONS}.{function}", log):
            api.give({"words": ["word"]})
            call = api.call().wait()
            assert call.headers["content-type"] == announced
            assert call.body == b"word"


def test_conformance_05_a_prelude_without_a_status_says_200(api: ScriptedRuntimeApi, log: Path) -> None:
    """The status is always written out: not every reader of a prelude has the same default."""
    with runtime(api, f"{FUNCTIONS}.http", log):
        api.give({"metadata": {"headers": {"x": "y"}}, "words": ["one"]})
        body = api.call().wait().body
    assert body == b'{"statusCode":200,"headers":{"x":"y"},"cookies":[]}' + b"\0" * 8 + b"one"


def test_bytes_are_passed_through_though_a_write_ends_inside_a_character(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Bytes are the handler's business, one write one chunk; text arrives whole."""
    with runtime(api, f"{FUNCTIONS}.cuts_a_character", log):
        api.give()
        body = _body_on_the_wire(api.call().wait())
    assert body == b"1\r\n\xf0\r\n3\r\n\x9f\x8f\x83\r\n4\r\n\xf0\x9f\x8f\x83\r\n0\r\n\r\n"


@pytest.mark.parametrize("last", [None, ""], ids=["no end", "empty end"])
def test_conformance_06_a_response_without_a_body_keeps_its_status(
    api: ScriptedRuntimeApi, log: Path, last: str | None
) -> None:
    """The prelude goes out with the end, if nothing was written before."""
    event: dict[str, object] = {"metadata": {"statusCode": 302, "headers": {"location": "/x"}}}
    with runtime(api, f"{FUNCTIONS}.http", log):
        api.give(event if last is None else event | {"last": last})
        call = api.call().wait()
    assert call.body == b'{"statusCode":302,"headers":{"location":"/x"},"cookies":[]}' + b"\0" * 8
    assert call.complete
    assert call.trailers == {}


def test_conformance_07_end_with_data_sends_the_prelude_first(api: ScriptedRuntimeApi, log: Path) -> None:
    """Unlike on Node, `end(data)` does not bypass the prelude."""
    with runtime(api, f"{FUNCTIONS}.http", log):
        api.give({"metadata": {}, "last": "all"})
        assert api.call().wait().body == b'{"statusCode":200,"headers":{},"cookies":[]}' + b"\0" * 8 + b"all"


@pytest.mark.parametrize("words", [[], None], ids=["nothing written", "prelude set"])
def test_conformance_10_an_error_before_the_first_byte_is_an_invocation_error(
    api: ScriptedRuntimeApi, log: Path, words: list[str] | None
) -> None:
    """It is posted to `/error`, no response is, and it stands once in the log."""
    with runtime(api, f"{FUNCTIONS}.fails", log) as process:
        api.give({"message": "too early"} if words is None else {"message": "too early", "words": words})
        call = api.call().wait()
        api.wait_until_asked()
    assert call.path == "/2018-06-01/runtime/invocation/req-1/error"
    error = json.loads(call.body)
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "too early")
    assert api.no_call()
    assert process.log.count("[ERROR] ValueError: too early") == 1


def test_conformance_12_an_error_after_the_first_byte_goes_out_in_the_trailers(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """The response ends with error trailers, the runtime lives, and the next invocation works."""
    with runtime(api, f"{FUNCTIONS}.fails", log) as process:
        api.give({"words": ["partial"], "message": "zu spät"})
        call = api.call().wait()
        api.wait_until_asked()
        assert call.complete
        assert call.body == b"partial"
        assert call.trailers["lambda-runtime-function-error-type"] == "ValueError"
        error = _error_of(call)
        assert (error["errorType"], error["errorMessage"]) == ("ValueError", "zu spät")
        assert error["requestId"] == "req-1"
        assert any("fails" in frame for frame in error["stackTrace"])  # type: ignore[attr-defined]
        assert process.log.count("[ERROR] ValueError: zu spät") == 1
        api.asked.release()

        api.give({"words": ["again"], "message": "x"}, request_id="req-2")
        assert api.call().wait().body == b"again"
        assert process.process.poll() is None


def test_an_error_after_the_end_does_not_touch_the_response(api: ScriptedRuntimeApi, log: Path) -> None:
    """The response was complete; the error is for the log."""
    with runtime(api, f"{FUNCTIONS}.fails", log) as process:
        api.give({"words": ["whole"], "end": True, "message": "after the end"})
        call = api.call().wait()
        api.wait_until_asked()
    assert call.complete
    assert call.trailers == {}
    assert api.no_call()
    assert "after the end" in process.log


@pytest.mark.parametrize(
    ("function", "event"),
    [
        ("fails", {"words": ["x"], "message": "m" * 100_000}),
        ("fails", {"words": ["x"], "message": "ü\n\r\0" * 30_000}),
        ("fails_deep_down", {}),
    ],
    ids=["long message", "long message outside ASCII", "long traceback"],
)
def test_conformance_13_error_trailers_stay_below_4000_bytes(
    api: ScriptedRuntimeApi, log: Path, function: str, event: dict[str, object]
) -> None:
    """A traceback of 100 kB is cut; type and message, as far as it fits, are kept."""
    with runtime(api, f"{FUNCTIONS}.{function}", log):
        api.give(event)
        call = api.call().wait()
    block = _body_on_the_wire(call).partition(b"\r\n0\r\n")[2]
    assert len(block) < 4000
    assert block.count(b"\r\n") == 3
    error = _error_of(call)
    if function == "fails":
        message = str(event["message"])
        assert error["errorType"] == "ValueError"
        assert (
            str(error["errorMessage"]).removesuffix("...") == message[: len(str(error["errorMessage"])) - 3]
        )
        assert len(str(error["errorMessage"])) > 100
    else:
        assert (error["errorType"], error["errorMessage"]) == ("LookupError", "deep down")
        assert error["stackTrace"]


def test_conformance_18_a_write_after_the_end_is_refused_and_harms_nothing(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """`WriteAfterEnd` is raised; what was sent stays whole."""
    with runtime(api, f"{FUNCTIONS}.writes_after_end", log) as process:
        api.give()
        call = api.call().wait()
        api.wait_until_asked()
    assert _body_on_the_wire(call) == b"5\r\nwhole\r\n0\r\n\r\n"
    assert "refused: Runtime.WriteAfterEnd" in process.log


def test_conformance_20_a_handler_that_returns_without_an_end_is_ended(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Unlike on Node, a forgotten `end` does not run into the timeout."""
    with runtime(api, f"{FUNCTIONS}.words", log):
        api.give({"words": []})
        call = api.call().wait()
        api.wait_until_asked()
    assert call.complete
    assert _body_on_the_wire(call) == b"0\r\n\r\n"


def test_an_async_generator_streams_what_it_yields(api: ScriptedRuntimeApi, log: Path) -> None:
    """One yield is one chunk."""
    with runtime(api, f"{FUNCTIONS}.yields", log):
        api.give({"words": ["one", "two"]})
        assert _body_on_the_wire(api.call().wait()) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


def test_a_tracing_decorator_does_not_stop_the_stream(api: ScriptedRuntimeApi, log: Path) -> None:
    """A handler wrapped with `functools.wraps` streams as before."""
    with runtime(api, f"{FUNCTIONS}.traced_words", log) as process:
        api.give({"words": ["one", "two"]})
        assert _body_on_the_wire(api.call().wait()) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        process.wait_for_log("traced")


def test_conformance_29_a_slow_reader_makes_the_writer_wait_and_costs_no_memory(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """64 MB are written only as they are read; the process holds but a few of them."""
    with runtime(api, f"{FUNCTIONS}.megabytes", log) as process:
        api.give({"count": 64})
        call = api.call()
        call.next_piece()
        api.read_on.clear()
        before = _settled(process)
        assert before < 32, "the writer did not wait"
        peak_kb = int(_status(process.process.pid)["VmHWM"].split()[0])
        assert peak_kb < 120_000
        api.read_on.set()
        assert len(call.wait().body) == 64 * MEGABYTE


def _settled(process: Runtime) -> int:
    """How many megabytes are written when the writer's process sleeps at last."""
    quiet = 0
    while quiet < 1000:
        written = process.log.count("wrote megabyte")
        quiet = quiet + 1 if _status(process.process.pid)["State"].startswith("S") else 0
        if process.log.count("wrote megabyte") != written:
            quiet = 0
        os.sched_yield()
    return process.log.count("wrote megabyte")


def _status(process: int) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def test_six_megabytes_arrive_to_the_byte(api: ScriptedRuntimeApi, log: Path) -> None:
    """A large response is not altered."""
    with runtime(api, f"{FUNCTIONS}.megabytes", log):
        api.give({"count": 6})
        assert api.call().wait().body == b"".join(bytes([number]) * MEGABYTE for number in range(6))


@pytest.mark.parametrize("status", [400, 413])
def test_an_early_refusal_ends_the_write_instead_of_hanging_it(
    api: ScriptedRuntimeApi, log: Path, status: int
) -> None:
    """Lambda answers in the middle and stops reading: the write raises, the runtime lives."""
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
    """The handler learns that its response cannot arrive; the next invocation works."""
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
    """Kept alive from one invocation to the next; one that was closed in between is not used."""
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
    """A late refusal has no other way out than the log; the runtime goes on."""
    api.status = 403
    with runtime(api, f"{FUNCTIONS}.words", log) as process:
        api.give({"words": ["x"]})
        api.call().wait()
        process.wait_for_log("req-1\tThe response was not accepted: status 403")
        api.wait_until_asked()


def test_a_handler_that_exits_breaks_the_response_off(api: ScriptedRuntimeApi, log: Path) -> None:
    """`sys.exit` ends the process as under the stock runtime, and the response does not look complete."""
    with runtime(api, f"{FUNCTIONS}.exits", log) as process:
        api.give()
        call = api.call().wait()
        assert process.wait() == 7
    assert call.body == b"word"
    assert not call.complete


def test_a_cancellation_that_escapes_is_an_ordinary_error(api: ScriptedRuntimeApi, log: Path) -> None:
    """`CancelledError` is no `Exception`, yet it does not end the process."""
    with runtime(api, f"{FUNCTIONS}.cancels_itself", log):
        api.give()
        call = api.call().wait()
        api.wait_until_asked()
    assert call.path.endswith("/error")
    assert json.loads(call.body)["errorType"] == "HandlerCancelled"


def test_work_left_behind_is_cancelled_and_named_in_the_log(api: ScriptedRuntimeApi, log: Path) -> None:
    """A task that outlives its invocation would resume in the middle of a later one."""
    with runtime(api, f"{FUNCTIONS}.leaves_work", log) as process:
        api.give()
        assert api.call().wait().body == b"done"
        process.wait_for_log("leaves_work.<locals>.forgotten_work")


def test_one_event_loop_serves_all_invocations(api: ScriptedRuntimeApi, log: Path) -> None:
    """Clients with open connections survive from one invocation to the next."""
    with runtime(api, f"{FUNCTIONS}.counts_loops", log):
        api.give()
        first = api.call().wait().body
        api.give()
        assert api.call().wait().body == first


def test_conformance_30_snapstart_runs_its_hooks_in_order(api: ScriptedRuntimeApi, log: Path) -> None:
    """Before-hooks in reverse, `restore/next` once, after-hooks in order, then invocations stream."""
    snap = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    with runtime(api, "support.snapstart_functions.words", log, environment=snap) as process:
        restore = api.call().wait()
        api.give({"words": ["x"]})
        assert restore.path == "/2018-06-01/runtime/restore/next"
        assert api.call().wait().body == b"x"
        api.wait_until_asked()
        assert api.no_call()
        printed = [line for line in process.log.splitlines() if line.startswith("hook")]
    assert printed == ["hook before 2", "hook before 1", "hook after 1", "hook after 2"]


@pytest.mark.parametrize(("failing", "path", "status"), [("before", "init", 64), ("after", "restore", 65)])
def test_conformance_30_a_failing_snapstart_hook_ends_the_process(
    api: ScriptedRuntimeApi, log: Path, failing: str, path: str, status: int
) -> None:
    """The exit statuses are the stock runtime's."""
    environment = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start", "FAILING_HOOK": failing}
    with runtime(api, "support.snapstart_functions.words", log, environment=environment) as process:
        assert process.wait() == status
        calls = [api.call().path]
        while not api.no_call():
            calls.append(api.call().path)
    assert calls[-1] == f"/2018-06-01/runtime/{path}/error"


def test_conformance_31_four_workers_stream_at_the_same_time(api: ScriptedRuntimeApi, log: Path) -> None:
    """On a Managed Instance each worker process has its own invocation."""
    environment = {"AWS_LAMBDA_MAX_CONCURRENCY": "4"}
    with (
        socket.create_server(("127.0.0.1", 0)) as gate,
        runtime(api, f"{FUNCTIONS}.meets_others", log, environment=environment),
    ):
        for number in range(4):
            api.give({"gate": gate.getsockname()[1]}, request_id=f"r{number}")
        calls = [api.call() for _ in range(4)]
        assert {call.next_piece() for call in calls} == {b"r0", b"r1", b"r2", b"r3"}
        together = [gate.accept()[0] for _ in range(4)]
        for waiting in together:
            waiting.close()
        assert all(call.wait().complete for call in calls)


def test_conformance_31_a_failed_post_does_not_end_a_worker(api: ScriptedRuntimeApi, log: Path) -> None:
    """A worker of a Managed Instance logs it and asks for the next event."""
    api.status = 410
    with runtime(api, f"{FUNCTIONS}.fails", log, environment={"AWS_LAMBDA_MAX_CONCURRENCY": "1"}) as process:
        for number in range(2):
            api.give({"message": f"failure {number}"})
            api.call().wait()
        process.wait_for_log("This won't kill the Runtime loop")


def test_conformance_34_sigterm_while_waiting_ends_the_process(api: ScriptedRuntimeApi, log: Path) -> None:
    """A runtime that waits for an event does not hold up a shutdown."""
    with runtime(api, f"{FUNCTIONS}.words", log) as process:
        api.wait_until_asked()
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM


def test_without_a_handler_or_an_address_the_program_says_what_it_needs(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """A person who starts it by hand is told how it is meant to be started."""
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
