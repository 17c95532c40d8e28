"""Handlers that do not stream: ours must not be told from the stock runtime."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.scripted_runtime_api import TESTS, Call, runtime, scripted_runtime_api

WRAPPER = TESTS.parent / "src" / "lambda_streaming" / "exec-wrapper"
PLAIN = "support.streaming_functions.plain"
EVENTS: list[dict[str, object]] = [
    {"return": {"statusCode": 200, "body": "grün"}},
    {"return": "text"},
    {"return": None},
    {"return": [1, 2.5, True]},
    {"return": 1, "bytes": True},
    {"raise": "missing"},
    {"raise": "日本 ü"},
]
#: Stands in for awslambdaric's native extension where there is none, as on macOS.
WITHOUT_EXTENSION = (
    "import sys; sys.modules['runtime_client'] = None;"
    "from lambda_streaming.runtime import run; run(['-', sys.argv[1]])"
)


def _record(
    log: Path,
    handler: str,
    events: list[dict[str, object]],
    *,
    module: str = "lambda_streaming",
    command: list[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[list[Call], str]:
    with (
        scripted_runtime_api() as api,
        runtime(api, handler, log, module=module, command=command, environment=environment) as process,
    ):
        calls = []
        for number, event in enumerate(events):
            api.give(event, request_id=f"r{number}", invocation_id=f"attempt-{number}", trace_id="Root=1-a")
            calls.append(api.call().wait())
        if events:
            api.wait_until_asked()
        else:
            calls.append(api.call().wait())
            assert process.wait() == 1
        return calls, process.log


def _comparable(text: str) -> str:
    """Without ports, times and memory addresses, which differ from run to run."""
    text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return re.sub(r"0x[0-9a-f]+", "POINTER", text)


@pytest.mark.parametrize("environment", ["", "AWS_Lambda_python3.13"], ids=["plain", "thread polling"])
def test_conformance_33_results_and_errors_are_those_of_the_stock_runtime(
    tmp_path: Path, environment: str
) -> None:
    """Every byte of every call, and the log."""
    execution_env = {"AWS_EXECUTION_ENV": environment} if environment else {}
    ours, our_log = _record(tmp_path / "ours", PLAIN, EVENTS, environment=execution_env)
    stock, stock_log = _record(
        tmp_path / "stock", PLAIN, EVENTS, module="awslambdaric", environment=execution_env
    )
    assert [_comparable(call.raw.decode("latin-1")) for call in ours] == [
        _comparable(call.raw.decode("latin-1")) for call in stock
    ]
    assert _comparable(our_log) == _comparable(stock_log)


@pytest.mark.parametrize("handler", ["no_such_module.handler", "support.streaming_functions.nothing", "odd"])
def test_conformance_33_init_errors_are_those_of_the_stock_runtime(tmp_path: Path, handler: str) -> None:
    """A handler that cannot be imported is reported in the same words."""
    ours, our_log = _record(tmp_path / "ours", handler, [])
    stock, stock_log = _record(tmp_path / "stock", handler, [], module="awslambdaric")
    assert _comparable(ours[0].raw.decode()) == _comparable(stock[0].raw.decode())
    assert _comparable(our_log) == _comparable(stock_log)


@pytest.mark.parametrize("environment", ["", "AWS_Lambda_python3.13"], ids=["plain", "thread polling"])
def test_a_plain_handler_under_the_portable_client_says_the_same_as_under_the_native_one(
    tmp_path: Path, environment: str
) -> None:
    """Method, path, body and the headers that mean something are equal: one contract, two clients."""
    execution_env = {"AWS_EXECUTION_ENV": environment} if environment else {}
    command = [sys.executable, "-c", WITHOUT_EXTENSION, PLAIN]
    portable, _ = _record(tmp_path / "portable", PLAIN, EVENTS, command=command, environment=execution_env)
    native, _ = _record(tmp_path / "native", PLAIN, EVENTS, environment=execution_env)
    meaning = ("content-type", "content-length", "user-agent", "lambda-runtime-invocation-id")
    xray = "lambda-runtime-function-xray-error-cause"
    for ours, theirs in zip(portable, native, strict=True):
        assert (ours.method, ours.path, ours.body) == (theirs.method, theirs.path, theirs.body)
        assert [ours.headers.get(name) for name in meaning] == [theirs.headers.get(name) for name in meaning]
        assert ours.headers.get(xray) == (theirs.headers.get(xray) or None)


@pytest.mark.parametrize("portable", [False, True], ids=["native", "portable"])
def test_a_connection_that_was_closed_while_idle_is_made_anew(tmp_path: Path, portable: bool) -> None:
    """The Runtime API may close what a runtime keeps alive; no answer is lost for it."""
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
    """On macOS, where awslambdaric has no native extension, everything works as well."""
    handler = "support.streaming_functions.words"
    command = [sys.executable, "-c", WITHOUT_EXTENSION, handler]
    calls, _ = _record(tmp_path / "log", handler, [{"words": ["a", "b"]}] * 3, command=command)
    assert [bytes(call.body) for call in calls] == [b"ab"] * 3
    assert all(call.complete for call in calls)


def test_a_streaming_handler_under_the_stock_runtime_answers_in_one_piece(tmp_path: Path) -> None:
    """The result is what a proxy integration understands; one warning tells what to configure."""
    metadata = {"statusCode": 201, "headers": {"Content-Type": "text/plain"}, "cookies": ["a=1"]}
    events: list[dict[str, object]] = [{"metadata": metadata, "words": ["grü", "n"]}] * 2
    calls, log = _record(tmp_path / "log", "support.streaming_functions.http", events, module="awslambdaric")
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
    """Without a prelude the response is 200 and of the announced type."""
    calls, _ = _record(
        tmp_path / "log",
        "support.streaming_functions.words",
        [{"words": ["\u00ff"]}],
        module="awslambdaric",
    )
    assert json.loads(calls[0].body) == {
        "statusCode": 200,
        "headers": {"content-type": "application/octet-stream"},
        "cookies": [],
        "body": "w78=",
        "isBase64Encoded": True,
    }


def test_an_error_under_the_stock_runtime_is_an_invocation_error(tmp_path: Path) -> None:
    """Also after a write: nothing has left the process yet."""
    event: dict[str, object] = {"words": ["x"], "message": "no"}
    calls, _ = _record(tmp_path / "log", "support.streaming_functions.fails", [event], module="awslambdaric")
    assert calls[0].path.endswith("/error")
    assert json.loads(calls[0].body)["errorType"] == "ValueError"


def test_conformance_32_the_exec_wrapper_finds_what_the_stock_bootstrap_finds(tmp_path: Path) -> None:
    """As a managed runtime starts it: task root first, its `.pth` files, the handler of `_HANDLER`."""
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
    calls, _ = _record(tmp_path / "log", "", [{}], command=command, environment=environment)
    assert calls[0].body.decode() == f"from the .pth folder|{task_root}|/rt"


def test_conformance_32_layers_come_before_what_lambda_brings_along(tmp_path: Path) -> None:
    """The function, its layers, the built-in packages, bootstrap.py's folder; `.pth` files of layers."""
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
    """Another wrapper may have added options; in older images boto3 lies in the folder of bootstrap.py."""
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
    calls, _ = _record(tmp_path / "log", "", [{}], command=command, environment=environment)
    assert json.loads(calls[0].body) == ["beside bootstrap.py", 1, [str(bootstrap)], False]


def test_the_exec_wrapper_started_by_hand_says_what_it_is_for() -> None:
    """It exits as `sysexits.h` says for a wrong use."""
    started = subprocess.run([WRAPPER], stderr=subprocess.PIPE, check=False)
    assert started.returncode == 64
    assert b"AWS_LAMBDA_EXEC_WRAPPER" in started.stderr


def test_the_exec_wrapper_is_packaged_and_can_be_executed(tmp_path: Path) -> None:
    """Installed from a wheel, it is beside the package, with its executable bit."""
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=TESTS.parent, stdout=subprocess.DEVNULL, check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        wrapper = packed.getinfo("lambda_streaming/exec-wrapper")
    assert wrapper.external_attr >> 16 & 0o111 == 0o111


def test_conformance_32_a_container_names_its_handler_on_the_command_line(tmp_path: Path) -> None:
    """`ENTRYPOINT ["python", "-m", "lambda_streaming"]`, `CMD ["app.handler"]`."""
    calls, _ = _record(tmp_path / "log", "support.streaming_functions.words", [{"words": ["x"]}])
    assert calls[0].body == b"x"
