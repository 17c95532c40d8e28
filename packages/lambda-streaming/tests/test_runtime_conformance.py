"""The conformance list for runtimes: what Lambda, or a client behind it, sees of ours, in real processes.

The numbers are those of the list of cases that runtime and emulator are built to; the emulator's are in
`emulator/test_conformance.py`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.places import LAMBDA_STREAMING
from support.recorded_calls import EVENTS, PLAIN, comparable, record
from support.scripted_runtime_api import (
    Runtime,
    ScriptedRuntimeApi,
    body_on_the_wire,
    error_in_trailers,
    runtime,
)

FUNCTIONS = "support.streaming_functions"
MEGABYTE = 1024 * 1024
WRAPPER = LAMBDA_STREAMING / "src" / "lambda_streaming" / "exec-wrapper"
CASES = {1, 2, 4, 5, 6, 7, 10, 12, 13, 18, 19, 20, 29, 30, 31, 32, 33, 34}


def test_every_case_for_runtimes_has_a_test() -> None:
    """No case can be removed unnoticed."""
    names = "\n".join(globals())
    assert {int(number) for number in re.findall(r"^test_conformance_(\d\d)_", names, re.MULTILINE)} == CASES


def test_conformance_01_each_write_arrives_before_the_handler_goes_on(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Lambda has the piece while the handler still waits for something else."""
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
    """The order is status, headers and cookies, eight NULs, payload; the content type announces a prelude."""
    metadata = {"statusCode": 201, "headers": {"x-a": "b\u00fc"}, "cookies": ["a=1", "b=2"]}
    with runtime(api, f"{FUNCTIONS}.http", log):
        api.give({"metadata": metadata, "words": ["one"]})
        call = api.call().wait()
    assert call.headers["content-type"] == "application/vnd.awslambda.http-integration-response"
    prelude = '{"statusCode":201,"headers":{"x-a":"bü"},"cookies":["a=1","b=2"]}'.encode() + b"\0" * 8
    assert body_on_the_wire(call) == b"%x\r\n%s\r\n3\r\none\r\n0\r\n\r\n" % (len(prelude), prelude)


@pytest.mark.parametrize(
    ("function", "announced"), [("typed", "text/plain"), ("words", "application/octet-stream")]
)
def test_conformance_04_the_content_type_is_the_handlers_or_octet_stream(
    api: ScriptedRuntimeApi, log: Path, function: str, announced: str
) -> None:
    """`set_content_type` before the first write decides how the response is posted."""
    with runtime(api, f"{FUNCTIONS}.{function}", log):
        api.give({"words": ["word"]})
        call = api.call().wait()
    assert call.headers["content-type"] == announced
    assert call.body == b"word"


def test_conformance_05_a_prelude_without_a_status_says_200(api: ScriptedRuntimeApi, log: Path) -> None:
    """The status is always explicit, because readers of preludes have different defaults."""
    with runtime(api, f"{FUNCTIONS}.http", log):
        api.give({"metadata": {"headers": {"x": "y"}}, "words": ["one"]})
        body = api.call().wait().body
    assert body == b'{"statusCode":200,"headers":{"x":"y"},"cookies":[]}' + b"\0" * 8 + b"one"


@pytest.mark.parametrize("last", [None, ""], ids=["no end", "empty end"])
def test_conformance_06_a_response_without_a_body_keeps_its_status(
    api: ScriptedRuntimeApi, log: Path, last: str | None
) -> None:
    """If nothing was written before, the prelude is sent at the end."""
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
    """The error is posted to `/error`, no response is posted, and it is logged once."""
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
    """The response ends with error trailers, the runtime stays alive, and the next invocation works."""
    with runtime(api, f"{FUNCTIONS}.fails", log) as process:
        api.give({"words": ["partial"], "message": "zu spät"})
        call = api.call().wait()
        api.wait_until_asked()
        assert call.complete
        assert call.body == b"partial"
        assert call.trailers["lambda-runtime-function-error-type"] == "ValueError"
        error = error_in_trailers(call)
        assert (error["errorType"], error["errorMessage"]) == ("ValueError", "zu spät")
        assert error["requestId"] == "req-1"
        assert any("fails" in frame for frame in error["stackTrace"])  # type: ignore[attr-defined]
        assert process.log.count("[ERROR] ValueError: zu spät") == 1
        api.asked.release()

        api.give({"words": ["again"], "message": "x"}, request_id="req-2")
        assert api.call().wait().body == b"again"
        assert process.process.poll() is None


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
    """A 100 kB traceback is truncated; the type and as much of the message as fits are kept."""
    with runtime(api, f"{FUNCTIONS}.{function}", log):
        api.give(event)
        call = api.call().wait()
    block = body_on_the_wire(call).partition(b"\r\n0\r\n")[2]
    assert len(block) < 4000
    assert block.count(b"\r\n") == 3
    error = error_in_trailers(call)
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
    """`WriteAfterEnd` is raised; the response that was sent is unaffected."""
    with runtime(api, f"{FUNCTIONS}.writes_after_end", log) as process:
        api.give()
        call = api.call().wait()
        api.wait_until_asked()
    assert body_on_the_wire(call) == b"5\r\nwhole\r\n0\r\n\r\n"
    assert "refused: Runtime.WriteAfterEnd" in process.log


def test_conformance_19_the_head_cannot_change_after_the_first_write(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """A new content type or prelude is refused as invalid, and the response continues."""
    with runtime(api, f"{FUNCTIONS}.changes_its_head", log) as process:
        api.give()
        call = api.call().wait()
        api.wait_until_asked()
    assert body_on_the_wire(call) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert call.headers["content-type"] == "application/octet-stream"
    assert process.log.count("refused: Runtime.InvalidStreamingOperation") == 2


def test_conformance_20_a_handler_that_returns_without_an_end_is_ended(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """Unlike on Node, a missing `end` does not run into the timeout."""
    with runtime(api, f"{FUNCTIONS}.words", log):
        api.give({"words": []})
        call = api.call().wait()
        api.wait_until_asked()
    assert call.complete
    assert body_on_the_wire(call) == b"0\r\n\r\n"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the process's memory in /proc")
def test_conformance_29_a_slow_reader_makes_the_writer_wait_and_costs_no_memory(
    api: ScriptedRuntimeApi, log: Path
) -> None:
    """64 MB are written only as fast as they are read; the process holds only a few of them."""
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
    """The number of megabytes written once the writer's process blocks."""
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


def test_conformance_30_snapstart_runs_its_hooks_in_order(api: ScriptedRuntimeApi, log: Path) -> None:
    """Before-hooks run in reverse, `restore/next` once, after-hooks in order; then invocations stream."""
    snap = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
    with runtime(api, "support.snapstart_functions.words", log, environment=snap) as process:
        restore = api.call().wait()
        api.give({"words": ["x"]})
        assert restore.path == "/2018-06-01/runtime/restore/next"
        response = api.call().wait()
        assert response.body == b"x"
        assert restore.connection == 0, "no connection may be opened before the snapshot"
        assert response.connection > restore.connection
        api.wait_until_asked()
        assert api.no_call()
        printed = [line for line in process.log.splitlines() if line.startswith("hook")]
    assert printed == ["hook before 2", "hook before 1", "hook after 1", "hook after 2"]


@pytest.mark.parametrize(("failing", "path", "status"), [("before", "init", 64), ("after", "restore", 65)])
def test_conformance_30_a_failing_snapstart_hook_ends_the_process(
    api: ScriptedRuntimeApi, log: Path, failing: str, path: str, status: int
) -> None:
    """The exit statuses equal those of the stock runtime."""
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
    """The worker of a Managed Instance logs the failure and polls for the next event."""
    api.status = 410
    with runtime(api, f"{FUNCTIONS}.fails", log, environment={"AWS_LAMBDA_MAX_CONCURRENCY": "1"}) as process:
        for number in range(2):
            api.give({"message": f"failure {number}"})
            api.call().wait()
        process.wait_for_log("This won't kill the Runtime loop")


def test_conformance_32_the_exec_wrapper_finds_what_the_stock_bootstrap_finds(tmp_path: Path) -> None:
    """As in a managed runtime, the task root and its `.pth` files come first, and `_HANDLER` is used."""
    task_root = tmp_path / "task"
    (task_root / "named_by_pth").mkdir(parents=True)
    (task_root / "extra.pth").write_text("named_by_pth\n")
    (task_root / "named_by_pth" / "dependency.py").write_text("WORD = 'from the .pth folder'\n")
    (task_root / "app.py").write_text(
        "import os, sys, dependency\n"
        "from lambda_streaming import streamify_response\n"
        "@streamify_response\n"
        "async def handler(event, stream, context):\n"
        "    await stream.write(dependency.WORD)\n"
        "    await stream.write('|' + sys.path[0] + '|' + os.environ['PYTHONPATH'])\n"
    )
    environment = {"LAMBDA_TASK_ROOT": str(task_root), "_HANDLER": "app.handler", "LAMBDA_RUNTIME_DIR": "/rt"}
    command = [
        "env",
        "-u",
        "PYTHONPATH",
        str(WRAPPER),
        sys.executable,
        "/var/runtime/bootstrap.py",
    ]
    calls, _ = record(tmp_path / "log", "", [{}], command=command, environment=environment)
    assert calls[0].body.decode() == f"from the .pth folder|{task_root}|/rt"


def test_conformance_32_layers_come_before_lambdas_built_in_packages(tmp_path: Path) -> None:
    """The order is function, layers, built-in packages, bootstrap.py's folder; layers' `.pth` files count."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    layered = f"opt/lib/{version}/site-packages"
    built_in = f"lang/lib/{version}/site-packages"
    folders = ["task", layered, "opt", built_in, "runtime"]
    for folder in (*folders, "from_a_layer"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / layered / "layer.pth").write_text(f"{tmp_path / 'from_a_layer'}\n")
    program = (
        "import json, sys; from pathlib import Path\n"
        "from lambda_streaming.managed_runtime import extend_path\n"
        "root = Path(sys.argv[1]); sys.path[0] = str(root / 'runtime')\n"
        "extend_path(str(root / 'task'), layers=root / 'opt', language=root / 'lang')\n"
        "print(json.dumps(sys.path))"
    )
    for environment, expected in (({}, folders), ({"PYTHONPATH": "/elsewhere"}, ["task", "runtime"])):
        printed = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        path = json.loads(printed)
        assert path[: len(expected)] == [str(tmp_path / folder) for folder in expected]
        assert (str(tmp_path / "from_a_layer") in path) == (expected == folders)


def test_conformance_32_the_exec_wrapper_keeps_options_and_finds_what_lies_beside_bootstrap(
    tmp_path: Path,
) -> None:
    """Another wrapper may have added options; older images have boto3 in the folder of bootstrap.py."""
    for folder in ("task", "runtime dir"):
        (tmp_path / folder).mkdir()
    bootstrap = tmp_path / "runtime dir" / "bootstrap.py"
    (bootstrap.parent / "brought_along.py").write_text("WORD = 'beside bootstrap.py'\n")
    (tmp_path / "task" / "app.py").write_text(
        "import sys, brought_along\n"
        "def handler(event, context):\n"
        "    return [brought_along.WORD, sys.flags.optimize, sys.argv, '' in sys.path]\n"
    )
    command = ["env", "-u", "PYTHONPATH", str(WRAPPER), sys.executable, "-O", "-X", "utf8", str(bootstrap)]
    environment = {"LAMBDA_TASK_ROOT": str(tmp_path / "task"), "_HANDLER": "app.handler"}
    calls, _ = record(tmp_path / "log", "", [{}], command=command, environment=environment)
    assert json.loads(calls[0].body) == ["beside bootstrap.py", 1, [str(bootstrap)], False]


def test_conformance_32_a_container_names_its_handler_on_the_command_line(tmp_path: Path) -> None:
    """The image has `ENTRYPOINT ["python", "-m", "lambda_streaming"]` and `CMD ["app.handler"]`."""
    calls, _ = record(tmp_path / "log", "support.streaming_functions.words", [{"words": ["x"]}])
    assert calls[0].body == b"x"


@pytest.mark.parametrize("environment", ["", "AWS_Lambda_python3.13"], ids=["plain", "thread polling"])
def test_conformance_33_results_and_errors_are_those_of_the_stock_runtime(
    tmp_path: Path, environment: str
) -> None:
    """Every byte of every call is compared, and so is the log."""
    execution_env = {"AWS_EXECUTION_ENV": environment} if environment else {}
    ours, our_log = record(tmp_path / "ours", PLAIN, EVENTS, environment=execution_env)
    stock, stock_log = record(
        tmp_path / "stock", PLAIN, EVENTS, module="awslambdaric", environment=execution_env
    )
    assert [comparable(call.raw.decode("latin-1")) for call in ours] == [
        comparable(call.raw.decode("latin-1")) for call in stock
    ]
    assert comparable(our_log) == comparable(stock_log)


@pytest.mark.parametrize("handler", ["no_such_module.handler", "support.streaming_functions.nothing", "odd"])
def test_conformance_33_init_errors_are_those_of_the_stock_runtime(tmp_path: Path, handler: str) -> None:
    """A handler that cannot be imported is reported with the same text."""
    ours, our_log = record(tmp_path / "ours", handler, [])
    stock, stock_log = record(tmp_path / "stock", handler, [], module="awslambdaric")
    assert comparable(ours[0].raw.decode()) == comparable(stock[0].raw.decode())
    assert comparable(our_log) == comparable(stock_log)


def test_conformance_34_sigterm_while_waiting_ends_the_process(api: ScriptedRuntimeApi, log: Path) -> None:
    """A runtime that waits for an event must not delay a shutdown."""
    with runtime(api, f"{FUNCTIONS}.words", log) as process:
        api.wait_until_asked()
        process.process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
