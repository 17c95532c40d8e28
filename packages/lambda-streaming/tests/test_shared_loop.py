"""One process serves many invocations at once and keeps them separate. Real environments."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url.invoker import (
    FunctionFailed,
    InvocationRequest,
    InvocationResponse,
    ResponseBrokenOff,
)
from lambda_streaming.shutdown import SHUTDOWN_PHASE_S
from support.environments import steps, text_of, until
from support.patience import PATIENCE_S
from support.places import TESTS

FUNCTIONS = "support.concurrent_functions"


class Output:
    """What the function's processes printed.

    Attributes:
        caplog: has the emulator's log.
    """

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "lambda_streaming.emulator")
        self.caplog = caplog

    def lines(self) -> list[str]:
        """The lines, without the name of the environment."""
        return [
            record.getMessage().partition("] ")[2]
            for record in self.caplog.records
            if record.name == "lambda_streaming.emulator.output"
        ]

    def of(self, request: InvocationRequest) -> list[dict[str, Any]]:
        """The lines with the request's id."""
        objects = [json.loads(line) for line in self.lines()]
        return [each for each in objects if each.get("requestId") == request.request_id]

    def messages(self, request: InvocationRequest) -> list[str]:
        """The messages of these lines."""
        return [each["message"] for each in self.of(request) if "message" in each]

    async def has(self, text: str) -> str:
        """Wait for a line with the text, and return it."""
        await until(lambda: any(text in line for line in self.lines()), f"{text!r} in the output")
        return next(line for line in self.lines() if text in line)


@pytest.fixture
def output(caplog: pytest.LogCaptureFixture) -> Output:
    """The output of one test's environments."""
    return Output(caplog)


@asynccontextmanager
async def shared(
    function: str = "steps",
    *,
    concurrency: int = 8,
    mode: str | None = "asyncio",
    patient: str = "",
    variables: Mapping[str, str] | None = None,
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[ExecutionEnvironments]:
    """Environments that run several invocations at once, one of them at most.

    Those stages of a shutdown that are named in `patient` may take as long as the test waits.
    """
    environment = {"PYTHONPATH": str(TESTS), "PATIENT_SHUTDOWN": patient, **(variables or {})}
    if mode is not None:
        environment["LAMBDA_STREAMING_CONCURRENCY"] = mode
    command = [sys.executable, "-m", "lambda_streaming", f"{FUNCTIONS}.{function}"]
    limits = {"timeout_s": PATIENCE_S, "init_timeout_s": PATIENCE_S, "grace_s": 1.0, "max_concurrency": 1}
    async with ExecutionEnvironments(
        command, env=environment, environment_concurrency=concurrency, **(limits | options)
    ) as pool:
        yield pool


async def started(pool: ExecutionEnvironments, request: InvocationRequest) -> InvocationResponse:
    """Invoke the function and wait for the beginning of its response."""
    async with asyncio.timeout(PATIENCE_S):
        return await pool.invoke(request)


async def answer(pool: ExecutionEnvironments, request: InvocationRequest) -> str:
    """Invoke the function and read its response."""
    return await text_of(await started(pool, request))


def traced(*taken: list[object], trace: str) -> InvocationRequest:
    """An invocation with these steps and a trace of its own."""
    request = steps(*taken)
    return InvocationRequest(payload=request.payload, request_id=request.request_id, trace_id=trace)


async def test_context_logs_output_and_traces_of_invocations_at_once_are_separate(output: Output) -> None:
    """Each sees its own in its coroutine, its tasks and its threads, while all of them run in one process."""
    names = [f"user-{number}" for number in range(8)]
    async with shared(concurrency=9) as pool:
        requests = {
            name: traced(["be", name], ["wait", "all"], ["say"], trace=f"Root=1-67e0a000-{number:024x}")
            for number, name in enumerate(names)
        }
        responses = {name: await started(pool, request) for name, request in requests.items()}
        await answer(pool, steps(["set", "all"]))
        texts = {name: await text_of(response) for name, response in responses.items()}
        (environment,) = pool.environments
        process = environment.process.id
        await until(lambda: not environment.running, "the end of all invocations")
        for request in requests.values():
            await until(lambda request=request: len(output.of(request)) == 6, "all of the output")  # type: ignore[misc]
    for name, request in requests.items():
        assert texts[name] == f"{name} after the import;{name} {request.trace_id};process {process}"
        messages = [f"{name} prints", f"{name} complains", *[f"{name} logs"] * 3]
        assert sorted(output.messages(request)) == sorted(messages)
        (metric,) = [line for line in output.of(request) if "metric" in line]
        assert metric["metric"] == name
    assert "requestId" not in json.loads(await output.has("lifespan began"))
    assert sum("lifespan" in line for line in output.lines()) == 2
    assert "lifespan ended" in output.lines()[-1]


@pytest.mark.parametrize("variables", [{}, {"_X_AMZN_TRACE_ID": "of the process"}], ids=["unset", "set"])
async def test_the_environment_is_a_mapping_with_the_trace_of_the_invocation(
    variables: dict[str, str],
) -> None:
    """It can be copied, for a child process; what an invocation changes there is seen by itself only."""
    async with shared(variables=variables) as pool:
        changing = traced(["environment"], trace="Root=1")
        assert json.loads(await answer(pool, changing)) == ["Root=1", "mine", None]
        assert json.loads(await answer(pool, traced(["environment"], trace="Root=2")))[0] == "Root=2"


async def test_a_task_of_the_process_is_not_labelled_with_the_invocation_that_started_it(
    output: Output,
) -> None:
    """It outlives that invocation: its log lines and its trace would be wrong from then on."""
    async with shared() as pool:
        assert await answer(pool, traced(["start-for-process"], trace="Root=1")) == "null"
        assert json.loads(await output.has("task of the process"))["requestId"] == ""


async def test_an_error_fails_its_own_invocation_only(output: Output) -> None:
    """Before the first byte, and after it; the log names the request, and the others go on."""
    async with shared() as pool:
        patient = await started(pool, steps(["write", "begun;"], ["wait", "errors"], ["pid"]))
        early, late = steps(["fail", "too early"]), steps(["write", "word"], ["fail", "too late"])
        with pytest.raises(FunctionFailed, match="too early"):
            await answer(pool, early)
        with pytest.raises(ResponseBrokenOff):
            await answer(pool, late)
        await answer(pool, steps(["set", "errors"]))
        (environment,) = pool.environments
        assert await text_of(patient) == f"begun;{environment.process.id}"
        for request, message in ((early, "too early"), (late, "too late")):
            assert json.loads(await output.has(message))["requestId"] == request.request_id


async def test_what_an_invocation_leaves_behind_is_cleaned_up_without_harm_to_the_others(
    output: Output,
) -> None:
    """Its task is cancelled and named, its generator closed, with its request id; the other's live on."""
    async with shared() as pool:
        other = await started(
            pool, steps(["leave", "other"], ["write", "left;"], ["wait", "o"], ["report-task", "other"])
        )
        leaver = steps(["leave", "leaver"], ["write", "left"])
        assert await answer(pool, leaver) == "left"
        assert (
            await answer(pool, steps(["end-of-task", "leaver"], ["report-task", "leaver"], ["set", "o"]))
            == "cancelled"
        )
        assert await text_of(other) == "left;running"
        closed = json.loads(await output.has("closed the generator of leaver"))
        assert closed["requestId"] == leaver.request_id
        (warning,) = [each for each in output.messages(leaver) if "still running" in each]
        assert "1 of its tasks" in warning
        assert "_stay" in warning
        closed = json.loads(await output.has("closed the generator of other"))
        assert closed["requestId"] == other_id(output, leaver)


async def test_an_invocation_does_not_clean_up_what_an_earlier_one_has_left(output: Output) -> None:
    """That was reported and cancelled once; another invocation's log must not name it."""
    async with shared() as pool:
        leaver, later = steps(["ignore-cancellation"]), steps(["write", "x"])
        assert await answer(pool, leaver) == ""
        await output.has("ignore their cancellation")
        assert await answer(pool, later) == "x"
        assert await answer(pool, steps(["set", "give up"], ["end-of-task", "stubborn"])) == ""
    assert len([each for each in output.messages(leaver) if "still running" in each]) == 1
    assert output.messages(later) == []
    assert sum("ignored a cancellation" in line for line in output.lines()) == 1


def other_id(output: Output, than: InvocationRequest) -> str:
    """The request id of the other invocation that left something behind."""
    found = {json.loads(line).get("requestId") for line in output.lines() if "closed the generator" in line}
    (other,) = found - {than.request_id}
    assert isinstance(other, str)
    return other


async def test_a_slow_reader_and_one_that_leaves_hold_up_only_their_own_responses() -> None:
    """The writer of an unread response waits; others finish; a handler goes on when its client has left."""
    async with shared() as pool:
        unread = await started(pool, steps(["write", "x" * 65_536, 400], ["set", "read to its end"]))
        left = await started(
            pool, steps(["write", "word"], ["wait", "left"], ["write", "x"], ["set", "went on"])
        )
        await left.body.aclose()
        assert await answer(pool, steps(["set", "left"], ["wait", "went on"], ["write", "ok"])) == "ok"
        assert len(await text_of(unread)) == 400 * 65_536
        assert await answer(pool, steps(["wait", "read to its end"], ["write", "ok"])) == "ok"


async def test_a_timeout_ends_its_invocation_and_leaves_the_process_to_the_others(output: Output) -> None:
    """The handler is cancelled at its deadline, so that it can save; the environment has its slot back."""
    async with shared(concurrency=1 + 1, timeout_s=10.0) as pool:
        late = steps(["save-when-cancelled"])
        response = await started(pool, late)
        process = await answer(pool, steps(["pid"]))
        with pytest.raises(ResponseBrokenOff):
            await text_of(response)
        saved = json.loads(await output.has("saved"))
        assert saved["requestId"] == late.request_id
        assert "cancelled at its deadline" in await output.has("cancelled at its deadline")
        both = await asyncio.gather(*(answer(pool, steps(["pid"])) for _ in range(2)))
        assert set(both) == {process}


async def exit_status(pool: ExecutionEnvironments) -> int:
    """Wait for the end of the only environment's process."""
    (environment,) = pool.environments
    async with asyncio.timeout(PATIENCE_S):
        return await environment.process.ended


async def test_sigterm_lets_invocations_end(output: Output) -> None:
    """Then the lifespan is left, and the process dies of the signal."""
    async with shared(patient="DRAINED_BY_S LEFT_BY_S") as pool:
        short = await started(pool, steps(["write", "begun;"], ["wait", "term"], ["write", "ended"]))
        ended = asyncio.create_task(exit_status(pool))
        assert await answer(pool, steps(["terminate"], ["set", "term"], ["write", "x"])) == "x"
        assert await text_of(short) == "begun;ended"
        assert await ended == -signal.SIGTERM
    assert not any("SIGTERM cancels" in line for line in output.lines())
    assert any("lifespan ended" in line for line in output.lines())


@pytest.mark.parametrize("saving", ["save-when-cancelled", "await-and-save-when-cancelled"])
@pytest.mark.parametrize("function", ["steps", "without_lifespan"])
async def test_sigterm_cancels_invocations_that_do_not_end_and_lets_them_save(
    output: Output, function: str, saving: str
) -> None:
    """Also those that await while they save; the process ends after them."""
    async with shared(function, patient="CANCELLED_BY_S LEFT_BY_S") as pool:
        stubborn = steps([saving])
        response = await started(pool, stubborn)
        ended = asyncio.create_task(exit_status(pool))
        assert await answer(pool, steps(["terminate"], ["write", "x"])) == "x"
        with pytest.raises(ResponseBrokenOff, match="HandlerCancelled"):
            await text_of(response)
        assert await ended == -signal.SIGTERM
    (warning,) = [line for line in output.lines() if "SIGTERM cancels" in line]
    assert warning.count(stubborn.request_id) == 1
    assert "saved" in output.messages(stubborn)
    assert any("lifespan ended" in line for line in output.lines()) == (function == "steps")


@pytest.mark.parametrize("function", ["steps", "without_lifespan"])
async def test_another_handler_of_sigterm_runs_after_the_invocations_have_ended(
    output: Output, function: str
) -> None:
    """A tool's or the function's own, with a lifespan to leave before it, and without one."""
    with_handler = {"SIGNAL_HANDLER": "1"}
    async with shared(function, patient="DRAINED_BY_S LEFT_BY_S", variables=with_handler) as pool:
        short = await started(pool, steps(["write", "begun;"], ["wait", "term"], ["write", "ended"]))
        ended = asyncio.create_task(exit_status(pool))
        assert await answer(pool, steps(["terminate"], ["set", "term"], ["write", "x"])) == "x"
        assert await text_of(short) == "begun;ended"
        assert await ended == 3
    last_words = [each["message"] for each in map(json.loads, output.lines()) if "message" in each]
    expected = ["lifespan ended", "signal handler"] if function == "steps" else ["signal handler"]
    assert [each for each in last_words if each in {"lifespan ended", "signal handler"}] == expected


async def test_a_handler_that_begins_while_the_lifespan_is_left_is_cancelled(output: Output) -> None:
    """Its thread may have been slow. Neither the event loop nor the lifespan starts again."""
    async with shared("late", patient="LEFT_BY_S") as pool:
        late = asyncio.create_task(answer(pool, steps(["write", "late"])))
        await output.has("late")
        ended = asyncio.create_task(exit_status(pool))
        os.kill(pool.environments[0].process.id, signal.SIGTERM)
        with pytest.raises(FunctionFailed, match="The handler was cancelled"):
            await late
        assert await ended == -signal.SIGTERM


async def test_what_the_invocations_take_of_a_shutdown_is_not_given_to_the_lifespan_again(
    output: Output,
) -> None:
    """Lambda would kill the process while it waits for the lifespan, and nothing would say so."""
    async with shared("with_stubborn_lifespan") as pool:
        await started(pool, steps(["save-when-cancelled"]))
        ended = asyncio.create_task(exit_status(pool))
        await answer(pool, steps(["terminate"]))
        assert await ended == -signal.SIGTERM
    within = re.search(r"The lifespan has not shut down within ([\d.]+) s", "\n".join(output.lines()))
    assert within is not None
    assert 0 < float(within[1]) < SHUTDOWN_PHASE_S / 2


async def test_an_exit_of_the_process_names_the_invocations_that_it_ends(
    output: Output, caplog: pytest.LogCaptureFixture
) -> None:
    """In the function's log, and in the emulator's; the next request gets a new process."""
    async with shared(max_concurrency=2) as pool:
        bystander, culprit = steps(["write", "word"], ["wait", "ever"]), steps(["exit"])
        response = await started(pool, bystander)
        with pytest.raises(FunctionFailed, match="exit status 3"):
            await answer(pool, culprit)
        with pytest.raises(ResponseBrokenOff):
            await text_of(response)
        line = json.loads(await output.has("in flight"))
        assert line["level"] == "CRITICAL"
        assert line["requestId"] == culprit.request_id
        assert {bystander.request_id, culprit.request_id} <= set(re.split(r"[ ,]+", line["message"]))
        assert f"{culprit.request_id} Runtime.ExitError" in caplog.text
        assert f"{bystander.request_id} HandlerCancelled" in caplog.text
        assert await answer(pool, steps(["write", "alive"])) == "alive"


async def test_a_handler_that_blocks_the_event_loop_is_named(output: Output) -> None:
    """With the line that blocks, and the invocations that wait for it."""
    async with shared() as pool:
        waiting, blocking = (
            steps(["write", "word"], ["wait", "blocked"]),
            steps(["block-until-warned"], ["set", "blocked"]),
        )
        response = await started(pool, waiting)
        assert await answer(pool, blocking) == "warned"
        assert await text_of(response) == "word"
        warning = json.loads(await output.has("has been blocked"))
        assert waiting.request_id in warning["message"]
        assert blocking.request_id in warning["message"]
        assert "_block_until_warned" in warning["message"]
        if sys.version_info >= (3, 12):
            assert warning["requestId"] == blocking.request_id


async def test_a_wrapper_surrounds_its_own_invocation(output: Output) -> None:
    """As a tracing decorator does: the handler runs in its context, and it ends after the handler."""
    async with shared("wrapped") as pool:
        requests = [traced(["wait", "both"], ["say"], trace="Root=1") for _ in range(2)]
        running = [asyncio.create_task(answer(pool, request)) for request in requests]
        await until(lambda: any(each.running == 2 for each in pool.environments), "two invocations")
        await answer(pool, steps(["set", "both"]))
        for request, text in zip(requests, await asyncio.gather(*running), strict=True):
            assert f"wrapper of {request.request_id} Root=1" in text
            await output.has(f"the wrapper of wrapper of {request.request_id} ends")
            logs, end = output.messages(request)[:-1], output.messages(request)[-1]
            assert set(logs) == {f"wrapper of {request.request_id} logs"}
            assert end.startswith("the wrapper of")


async def test_events_of_services_that_cannot_stream_are_served_at_once_as_well() -> None:
    """Their responses are proxy results."""
    of_http_api = {
        "version": "2.0",
        "requestContext": {"domainName": "a.execute-api.eu-west-1.amazonaws.com"},
    }

    def event(*taken: list[object]) -> InvocationRequest:
        payload = json.dumps({**of_http_api, "steps": taken}).encode()
        return InvocationRequest(payload=payload, request_id=steps().request_id, trace_id="Root=1")

    async with shared() as pool:
        first = asyncio.create_task(answer(pool, event(["status", 201], ["wait", "it"], ["write", "one"])))
        await until(lambda: any(each.running for each in pool.environments), "the first")
        second = json.loads(await answer(pool, event(["set", "it"], ["write", "two"])))
        assert json.loads(await first)["statusCode"] == 201
        assert second["statusCode"] == 200


async def test_an_asgi_app_serves_requests_at_once() -> None:
    """The second request is what lets the first one respond."""

    def get(path: str) -> InvocationRequest:
        event = {
            "version": "2.0",
            "rawPath": path,
            "headers": {},
            "requestContext": {"http": {"method": "GET"}},
        }
        return InvocationRequest(
            payload=json.dumps(event).encode(), request_id=steps().request_id, trace_id="Root=1"
        )

    async with shared("app") as pool:
        first = asyncio.create_task(answer(pool, get("/first")))
        await until(lambda: any(each.running for each in pool.environments), "the first")
        assert (await answer(pool, get("/second"))).endswith("/second")
        assert (await first).endswith("/first")


@pytest.mark.parametrize(
    ("function", "mode", "refusal"),
    [
        (
            "synchronous",
            "asyncio",
            "is synchronous; LAMBDA_STREAMING_CONCURRENCY=asyncio is for asynchronous ones",
        ),
        ("steps", "threads", "LAMBDA_STREAMING_CONCURRENCY is 'threads'; it is one of processes, asyncio"),
    ],
)
async def test_what_cannot_run_so_is_refused_at_start(function: str, mode: str, refusal: str) -> None:
    """A handler that would block the others, and a value that is not understood, with the remedy."""
    async with shared(function, mode=mode, concurrency=2) as pool:
        with pytest.raises(FunctionFailed, match=re.escape(refusal)):
            await answer(pool, steps())


async def test_without_the_variable_each_invocation_has_a_process_as_with_the_stock_runtime() -> None:
    """Three at once, in three processes of one environment."""
    async with shared(mode=None, concurrency=3) as pool:
        responses = [await started(pool, steps(["pid"], ["save-when-cancelled"])) for _ in range(3)]
        assert len(pool.environments) == 1
        pieces = [await anext(aiter(response.body)) for response in responses]
        assert len(set(pieces)) == 3
