"""OpenTelemetry's instrumentation for Lambda, with the functions of its page, against an OTLP receiver."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.intake import Intake, Sent, intake
from support.monitoring import WRAPPER, Function, function, program, save_page

pytestmark = pytest.mark.peer

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"

#: Prints the spans of OTLP requests, a line for each; a request is a line, too: a list of its bytes in JSON.
DECODER = """
import json, sys
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

for line in sys.stdin:
    request = ExportTraceServiceRequest.FromString(bytes(json.loads(line)))
    spans = [span for each in request.resource_spans for scope in each.scope_spans for span in scope.spans]
    printed = []
    for span in spans:
        decoded = MessageToDict(span)
        decoded |= {"id": span.span_id.hex(), "parent": span.parent_span_id.hex()}
        decoded |= {"trace": span.trace_id.hex(), "failed": span.status.code == span.status.STATUS_CODE_ERROR}
        decoded["attributes"] = {
            each["key"]: next(iter(each["value"].values())) for each in decoded.get("attributes", [])
        }
        printed.append(decoded)
    print(json.dumps(printed))
"""


@pytest.fixture
def collector() -> Iterator[Intake]:
    """What the exporter sends."""
    with intake() as taken:
        yield taken


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The functions of the page."""
    assert save_page("opentelemetry.md", tmp_path) == ["main", "web"]
    return tmp_path


def _environment(collector: Intake) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PROPAGATORS": "tracecontext",
    }


def _decoded(*requests: Sent) -> list[list[dict[str, Any]]]:
    lines = "\n".join(json.dumps(list(each.body)) for each in requests)
    decoded = subprocess.run(
        [program("python"), "-c", DECODER], input=lines, stdout=subprocess.PIPE, text=True, check=True
    )
    return [json.loads(line) for line in decoded.stdout.splitlines()]


def _invocations(
    running: Function, collector: Intake, paths: tuple[str, str]
) -> list[dict[str, dict[str, Any]]]:
    """The spans of an invocation that works and of one that fails in mid-stream, as sent in time, by name."""
    works = running.invoke(paths[0], traceparent=PARENT)
    assert works.body.endswith(b"Hello, streaming world!")
    of_works = collector.in_time()
    fails = running.invoke(paths[1], traceparent=PARENT)
    assert fails.trailers["lambda-runtime-function-error-type"] == "ValueError"
    of_fails = collector.in_time()
    exported = _decoded(*of_works, *of_fails)
    assert {span["trace"] for spans in exported for span in spans} == {TRACE}
    return [
        {span["name"]: span for spans in requests for span in spans}
        for requests in (exported[: len(of_works)], exported[len(of_works) :])
    ]


def _check_invocation(span: dict[str, Any], status: str | None) -> None:
    assert span["parent"] == PARENT.split("-")[2]
    assert span["attributes"].get("http.status_code") == status
    assert span["failed"] == (status is None)


def _check_children(spans: dict[str, dict[str, Any]], child: str, parent: str) -> None:
    inner, outer = spans[child], spans[parent]
    assert inner["parent"] == outer["id"]
    assert int(outer["startTimeUnixNano"]) <= int(inner["startTimeUnixNano"])
    assert int(inner["endTimeUnixNano"]) <= int(outer["endTimeUnixNano"])


def _stack(span: dict[str, Any]) -> str:
    (exception,) = [event for event in span["events"] if event["name"] == "exception"]
    values: dict[str, str] = {each["key"]: each["value"]["stringValue"] for each in exception["attributes"]}
    return values["exception.stacktrace"]


def test_a_handler_instrumented_in_code_has_a_span_as_long_as_its_stream(
    folder: Path, collector: Intake
) -> None:
    """Exported in time, with the status of the stream, or with the error that ended it.

    The instrumentation needs `_HANDLER`, which our runtime sets where Lambda does not.
    """
    command = ["env", "-u", "_HANDLER", program("python"), "-m", "lambda_streaming", "main.handler"]
    with function(
        folder, "main.handler", command=command, environment=_environment(collector), intake=collector
    ) as running:
        works, fails = _invocations(running, collector, ("/", "/fails"))
    assert works.keys() == fails.keys() == {"fn", "model"}
    _check_invocation(works["fn"], "201")
    _check_children(works, "model", "fn")
    _check_invocation(fails["fn"], None)
    stack = _stack(fails["fn"])
    assert "main.py" in stack
    assert "asyncio" not in stack
    assert stack.count("/lambda_streaming/") == 1


LAYER_WRAPPER = """#!/bin/sh
# What the layer's does: redirects the handler, and starts the runtime below opentelemetry-instrument.
export ORIG_HANDLER="$_HANDLER" _HANDLER=otel_wrapper.lambda_handler
exec {instrument} "$@"
"""
LAYER_MODULE = """
import importlib
import os

module, _, name = os.environ["ORIG_HANDLER"].rpartition(".")
lambda_handler = getattr(importlib.import_module(module), name)
"""


@pytest.mark.parametrize("order", ["container", "layer first", "layer second"])
def test_a_fastapi_app_has_a_span_for_its_route_below_the_invocations(
    folder: Path, collector: Intake, tmp_path: Path, order: str
) -> None:
    """Instrumented without a change to its code: by the image's entry point, or a layer in any order."""
    stock = [program("python"), "/var/runtime/bootstrap.py"]
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "otel_wrapper.py").write_text(LAYER_MODULE)
    theirs = layer / "otel-instrument"
    theirs.write_text(LAYER_WRAPPER.format(instrument=program("opentelemetry-instrument")))
    theirs.chmod(0o755)
    environment = _environment(collector)
    match order:
        case "container":
            started = [program("python"), "-m", "lambda_streaming", "web.handler"]
            command = [program("opentelemetry-instrument"), *started]
        case "layer first":
            command = [str(theirs), str(WRAPPER), *stock]
        case _:
            command = [str(WRAPPER), *stock]
            environment["LAMBDA_STREAMING_EXEC_WRAPPER"] = str(theirs)
    with function(
        folder, "web.handler", command=command, environment=environment, intake=collector, python_path=[layer]
    ) as running:
        works, fails = _invocations(running, collector, ("/words/streaming world!", "/words/none"))
    route = "GET /words/{words}"
    _check_invocation(works["fn"], "200")
    _check_children(works, route, "fn")
    _check_children(works, "model", route)
    assert works[route]["attributes"]["http.route"] == "/words/{words}"
    _check_invocation(fails["fn"], None)
    assert "in pieces" in _stack(fails["fn"])
    assert fails[route]["failed"]


IN_A_THREAD = """
from opentelemetry import trace
from lambda_streaming import streamify_response


@streamify_response
def handler(event, context):
    yield "Hello, "
    with trace.get_tracer(__name__).start_as_current_span("model"):
        if event["rawPath"] == "/fails":
            raise ValueError("nothing to say")
    yield "streaming world!"
"""


def test_spans_of_a_handler_in_a_thread_are_below_the_invocations(tmp_path: Path, collector: Intake) -> None:
    """Context variables follow the handler into its thread; a stream without a status is a 200."""
    (tmp_path / "app.py").write_text(IN_A_THREAD)
    started = [program("python"), "-m", "lambda_streaming", "app.handler"]
    with function(
        tmp_path,
        "app.handler",
        command=[program("opentelemetry-instrument"), *started],
        environment=_environment(collector),
        intake=collector,
    ) as running:
        works, fails = _invocations(running, collector, ("/", "/fails"))
    _check_invocation(works["fn"], "200")
    _check_children(works, "model", "fn")
    assert "in handler" in _stack(fails["fn"])
