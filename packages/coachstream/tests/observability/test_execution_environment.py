"""The output of a real execution environment: invocations, their failures, and never a secret."""

from __future__ import annotations

import json
import logging
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url.invoker import InvocationRequest
from support.environments import text_of
from support.http_server import serving
from support.patience import PATIENCE_S

TRACE = "1-67e0a000-0123456789abcdef01234567"
SECRET = "the-secret-of-" + "x9" * 12


class Collector(logging.Handler):
    """Keeps the lines of the environments, without their name prefixes."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage().partition("] ")[2])


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """Every line that the environments print, as it arrives."""
    output, collector = logging.getLogger("lambda_streaming.emulator.output"), Collector()
    level = output.level
    output.addHandler(collector)
    output.setLevel(logging.INFO)
    yield collector.lines
    output.setLevel(level)
    output.removeHandler(collector)


async def run(handler: str, *events: Mapping[str, Any], **variables: str) -> list[str]:
    """Handle events one after the other in one environment; return the responses once it has ended."""
    environments = ExecutionEnvironments(
        [sys.executable, "-m", "lambda_streaming", f"observed_function.{handler}"],
        env={"PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path)), **variables},
        function_name="fn",
        max_concurrency=1,
        settling_s=PATIENCE_S,
    )
    async with environments:
        return [await text_of(await environments.invoke(request_of(event))) for event in events]


def request_of(event: Mapping[str, Any]) -> InvocationRequest:
    return InvocationRequest(
        payload=msgspec.json.encode(event),
        request_id=str(uuid.uuid4()),
        trace_id=f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=1",
    )


@pytest.mark.parametrize("platform", [{}, {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "DEBUG"}])
async def test_each_record_is_one_line_of_json_whatever_the_platform_logs(
    lines: list[str], platform: dict[str, str]
) -> None:
    """Our handler coexists with awslambdaric's root handler, and no line is printed twice."""
    await run("turn", {}, {}, **platform)
    # At DEBUG, asyncio logs its selector before any handler is called.
    documents = [json.loads(line) for line in lines if "EpollSelector" not in line]
    logged = [document for document in documents if "level" in document]
    counted = [document for document in documents if "_aws" in document]
    assert [document["message"] for document in logged[::2]] == ["In the middle"] * 2
    assert len(documents) == len(logged) + len(counted) == 6
    for document in logged:
        assert document["xray_trace_id"] == TRACE
        assert document["function_name"] == "fn"
    assert len({document["function_request_id"] for document in logged}) == 2


async def test_the_first_bytes_do_not_wait_for_the_log_formatter(lines: list[str]) -> None:
    """Powertools is imported after them; only a process's first invocation counts as a cold start."""
    first, second = await run("turn", {}, {})
    assert (first, second) == ("powertools: False\n", "powertools: True\n")
    turns = [document for line in lines if "cold_start" in (document := json.loads(line))]
    assert [turn["cold_start"] for turn in turns] == [True, False]


async def test_a_process_that_was_started_ahead_is_not_cold(lines: list[str]) -> None:
    """With provisioned concurrency, no request waited for it."""
    await run("turn", {}, AWS_LAMBDA_INITIALIZATION_TYPE="provisioned-concurrency")
    [turn] = [document for line in lines if "cold_start" in (document := json.loads(line))]
    assert turn["cold_start"] is False


async def test_an_invalid_id_is_not_logged(lines: list[str]) -> None:
    """A client may send anything in place of an id."""
    await run("turn", {"conversation": "I feel sick today"}, {"conversation": "eyJ" + "x" * 500})
    turns = [document for line in lines if "conversation_id" in (document := json.loads(line))]
    assert [turn["conversation_id"] for turn in turns] == ["(not an id)"] * 2
    assert not any("sick" in line or "eyJ" in line for line in lines)


async def test_no_switch_of_powertools_breaks_a_line_into_several(lines: list[str]) -> None:
    """Powertools' setting for readable JSON would split one record into many lines."""
    await run("turn", {}, POWERTOOLS_DEV="true", PYTHONWARNINGS="ignore")
    assert len([json.loads(line) for line in lines]) == 3


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("platform", [{}, {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "DEBUG"}])
async def test_no_library_and_no_exception_prints_a_secret(
    lines: list[str], log_format: str, platform: dict[str, str]
) -> None:
    """Calls of httpx and botocore, and exceptions that quote the secret, with every logger at DEBUG."""
    seen: list[bytes] = []

    async def refusing(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI)
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = (await receive())["body"]
        seen.append(body)
        refusal = json.dumps({"__type": "ValidationException", "message": f"not {SECRET}"}).encode()
        await send({"type": "http.response.start", "status": 400, "headers": [(b"x-echo", SECRET.encode())]})
        await send({"type": "http.response.body", "body": refusal})

    async with serving(refusing) as port:
        event = {"url": f"http://127.0.0.1:{port}", "secret": SECRET}
        [response] = await run("indiscreet", event, TEST_LOG_FORMAT=log_format, **platform)
    assert response == "done", lines
    assert len(seen) == 2
    assert all(SECRET.encode() in body for body in seen)
    output = "\n".join(lines)
    assert SECRET not in output
    # The log still says what failed, and where.
    for said in ("The table refused", "It failed", "ValueError in log_exceptions", "INVALID_TOKEN"):
        assert said in output
