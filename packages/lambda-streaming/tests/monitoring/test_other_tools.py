"""Tools that take the handler's place, with the functions of their page: they record streams and errors."""

from __future__ import annotations

import base64
import gzip
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from support.intake import intake
from support.key_server import certificate
from support.monitoring import WRAPPER, Function, function, program, save_page, site_packages

pytestmark = pytest.mark.peer

#: What the tools' variables name, a handler or that of an app: a request that works, and one that fails.
HANDLERS = {"main.handler": ("/", "/fails"), "web.handler": ("/words/streaming world!", "/words/none")}
FRAMES = {"main.handler": "in handler", "web.handler": "in pieces"}
both = pytest.mark.parametrize("handler", HANDLERS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The functions of the page."""
    assert save_page("other-monitoring-tools.md", tmp_path) == ["main", "web", "flushed"]
    return tmp_path


def _works(running: Function, handler: str) -> None:
    call = running.invoke(HANDLERS[handler][0])
    assert bytes(call.body).partition(b"\0" * 8)[2] == b"Hello, streaming world!"


def _fails(running: Function, handler: str) -> None:
    call = running.invoke(HANDLERS[handler][1])
    assert bytes(call.body).partition(b"\0" * 8)[2] == b"Hello, "
    assert call.trailers["lambda-runtime-function-error-type"] == "ValueError"


@both
def test_datadog_logs_spans_and_metrics_of_each_stream(folder: Path, handler: str) -> None:
    """Without its extension, its libraries write them to the log, in JSON."""
    environment = {
        "DD_LAMBDA_HANDLER": handler,
        "DD_FLUSH_TO_LOG": "true",
        "DD_TRACE_ENABLED": "true",
        "DD_API_KEY": "key",
        "DD_SITE": "datadoghq.com",
        "DD_COLD_START_TRACING": "false",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    }
    with function(folder, "datadog_lambda.handler.handler", environment=environment) as running:
        _works(running, handler)
        works = _datadog(running)
        _fails(running, handler)
        fails = _datadog(running)[len(works) :]
    (invocation,) = _spans(works, "aws.lambda")
    assert invocation["meta"]["http.status_code"] == "201"
    assert invocation["error"] == 0
    (failed,) = _spans(fails, "aws.lambda")
    assert failed["error"] == 1
    assert failed["meta"]["error.message"] == "nothing to say"
    stack = failed["meta"]["error.stack"]
    assert FRAMES[handler] in stack
    assert "/asyncio/" not in stack
    assert "aws.lambda.enhanced.errors" not in _metrics(works)
    assert "aws.lambda.enhanced.errors" in _metrics(fails)


def _datadog(running: Function) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.runtime.log.splitlines() if line.startswith("{")]


def _metrics(lines: list[dict[str, Any]]) -> list[str]:
    return [line["m"] for line in lines if "m" in line]


def _spans(lines: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [
        span for line in lines for trace in line.get("traces", []) for span in trace if span["name"] == name
    ]


NEW_RELIC_LAYER = """
# What the layer's module does.
import importlib
import os

import newrelic.agent
from newrelic_lambda.lambda_handler import lambda_handler

newrelic.agent.initialize()
module, _, name = os.environ["NEW_RELIC_LAMBDA_HANDLER"].rpartition(".")
function = getattr(importlib.import_module(module), name)


@lambda_handler()
def handler(event, context):
    return function(event, context)
"""


@both
def test_new_relic_writes_the_transaction_of_each_stream(folder: Path, handler: str) -> None:
    """Without its extension, its agent writes them to the log, compressed."""
    (folder / "newrelic_lambda_wrapper.py").write_text(NEW_RELIC_LAYER)
    environment = {
        "NEW_RELIC_LAMBDA_HANDLER": handler,
        "NEW_RELIC_ACCOUNT_ID": "1",
        "NEW_RELIC_APP_NAME": "fn",
        "NEW_RELIC_NO_CONFIG_FILE": "true",
        "NEW_RELIC_SERVERLESS_MODE_ENABLED": "true",
    }
    with function(folder, "newrelic_lambda_wrapper.handler", environment=environment) as running:
        _works(running, handler)
        (works,) = _new_relic(running)
        _fails(running, handler)
        _, fails = _new_relic(running)
    ((intrinsic, _, attributes),) = works["analytic_event_data"][2]
    assert "error" not in intrinsic
    assert attributes["response.status"] == "201"
    ((intrinsic, _, attributes),) = fails["analytic_event_data"][2]
    assert intrinsic["error"] is True
    assert attributes["aws.requestId"] == HANDLERS[handler][1].strip("/")
    errors = [each for each in fails["error_data"][1] if each[2] == "nothing to say"]
    stack = "\n".join(errors[0][4]["stack_trace"])
    assert FRAMES[handler] in stack
    # What its instrumentation of FastAPI finds is noticed inside the event loop.
    assert handler == "web.handler" or "/asyncio/" not in stack


def _new_relic(running: Function) -> list[dict[str, Any]]:
    lines = [line for line in running.runtime.log.splitlines() if "NR_LAMBDA_MONITORING" in line]
    payloads = [gzip.decompress(base64.b64decode(json.loads(line)[2])) for line in lines]
    return [json.loads(payload)["data"] for payload in payloads]


@pytest.mark.parametrize("handler", ["main.handler", "web.app"])
def test_lumigo_sends_the_invocation_of_each_stream(folder: Path, handler: str) -> None:
    """It loads the handler by AWS's own function, so it may also be an app, at each invocation."""
    authority = certificate(folder, rsa.generate_private_key(public_exponent=65_537, key_size=2048))
    known = handler.replace("app", "handler")
    with intake(authority) as edge:
        environment = {
            "LUMIGO_ORIGINAL_HANDLER": handler,
            "LUMIGO_TRACER_TOKEN": "t_123",
            "LUMIGO_TRACER_HOST": edge.url.removeprefix("https://"),
            "LUMIGO_EDGE_TIMEOUT": "60",
            "SSL_CERT_FILE": str(authority),
        }
        name = "lumigo_tracer.auto_instrument_handler._handler"
        with function(folder, name, environment=environment, intake=edge) as running:
            _works(running, known)
            works = _by_id([json.loads(sent.body) for sent in edge.in_time()])
            _fails(running, known)
            fails = _by_id([json.loads(sent.body) for sent in edge.in_time()])
    request, failing = (path.strip("/") for path in HANDLERS[known])
    invocation = works[request]
    assert json.loads(invocation["return_value"])["statusCode"] == 201
    assert invocation["ended"] >= works[f"{request}_started"]["started"]
    error = fails[failing]["error"]
    assert (error["type"], error["message"]) == ("ValueError", "nothing to say")
    assert FRAMES[known] in error["stacktrace"]
    assert "/asyncio/" not in error["stacktrace"]


def _by_id(reports: list[list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    return {span["id"]: span for report in reports for span in report if "id" in span}


@both
def test_elastic_sends_the_transaction_of_each_stream(folder: Path, handler: str) -> None:
    """Redirected by its exec wrapper, which ours runs after itself, or which runs ours."""
    scripts = site_packages() / "elasticapm" / "contrib" / "serverless" / "aws_wrapper"
    theirs = folder / "elasticapm-lambda"
    theirs.write_text(f'#!/bin/sh\nexec {program("python")} {scripts / "elasticapm-lambda.py"} "$@"\n')
    theirs.chmod(0o755)
    with intake() as server:
        environment = {
            "ELASTIC_APM_SERVER_URL": server.url,
            "ELASTIC_APM_LAMBDA_APM_SERVER": server.url,
            "ELASTIC_APM_SEND_STRATEGY": "syncflush",
        }
        command = [str(WRAPPER), program("python"), "/var/runtime/bootstrap.py"]
        if handler == "main.handler":
            environment["LAMBDA_STREAMING_EXEC_WRAPPER"] = str(theirs)
        else:
            command.insert(0, str(theirs))
        with function(
            folder, handler, command=command, environment=environment, intake=server, python_path=[scripts]
        ) as running:
            _works(running, handler)
            works = [json.loads(line) for sent in server.in_time() for line in sent.body.splitlines()]
            _fails(running, handler)
            late = server.wait_for(lambda sent: b'"error"' in sent.body)
    transaction = [each["transaction"] for each in works if "transaction" in each][-1]
    # Its instrumentation of FastAPI ends the transaction first, without a result.
    assert handler == "web.handler" or transaction["result"] == "HTTP 2xx"
    assert transaction["context"]["response"]["status_code"] == 201
    assert transaction["duration"] > 0
    (error,) = [each["error"] for each in map(json.loads, late.body.splitlines()) if "error" in each]
    assert error["exception"]["message"] == "ValueError: nothing to say"
    functions = [frame["function"] for frame in error["exception"]["stacktrace"]]
    assert functions[-1] == FRAMES[handler].removeprefix("in ")
    assert not [frame for frame in error["exception"]["stacktrace"] if frame["module"].startswith("asyncio")]


@pytest.mark.parametrize(
    ("tool", "variable", "in_init"),
    [
        ("datadog_lambda.handler.handler", "DD_LAMBDA_HANDLER", True),
        ("lumigo_tracer.auto_instrument_handler._handler", "LUMIGO_ORIGINAL_HANDLER", True),
        ("elasticapm_handler.lambda_handler", "ELASTICAPM_ORIGINAL_HANDLER", False),
    ],
)
def test_the_lifespan_of_an_app_behind_a_tool_runs_once(
    tmp_path: Path, tool: str, variable: str, in_init: bool
) -> None:
    """In the INIT phase where the runtime can see the handler, else at the first invocation."""
    (tmp_path / "app.py").write_text(LIFESPAN)
    environment = {variable: "app.handler", "DD_TRACE_ENABLED": "false", "DD_FLUSH_TO_LOG": "true"}
    environment |= {"LUMIGO_REPORT_ENABLED": "false", "ELASTIC_APM_ENABLED": "false"}
    scripts = site_packages() / "elasticapm" / "contrib" / "serverless" / "aws_wrapper"
    with function(tmp_path, tool, environment=environment, python_path=[scripts]) as running:
        running.wait_until_idle()
        assert ("started" in running.runtime.log) == in_init
        running.invoke("/")
        running.invoke("/")
        running.runtime.process.send_signal(signal.SIGTERM)
        running.runtime.wait()
        log = running.runtime.log
    assert (log.count("started"), log.count("stopped")) == (1, 1)


LIFESPAN = """
from contextlib import asynccontextmanager
from fastapi import FastAPI
from lambda_streaming import from_asgi


@asynccontextmanager
async def lifespan(app):
    print("started", flush=True)
    yield
    print("stopped", flush=True)


app = FastAPI(lifespan=lifespan)
handler = from_asgi(app)
"""


def test_an_exporter_is_flushed_at_the_end_of_each_stream(folder: Path) -> None:
    """The last example of the page."""
    with function(folder, "flushed.handler") as running:
        _works(running, "main.handler")
        _fails(running, "main.handler")
        assert running.runtime.log.splitlines().count("flushed") == 2
