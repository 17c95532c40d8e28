"""Execution environments as real processes: started on demand, reused, frozen, killed, replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts.invoker import Gate, InvokerContract, InvokerFactory, gate
from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.emulator.environment import EnvironmentState
from lambda_streaming.emulator.function import InvalidFunction
from lambda_streaming.function_url.invoker import (
    FunctionFailed,
    InvocationTimedOut,
    Invoker,
    ResponseBrokenOff,
    Throttled,
)
from support.environments import answer, gone, is_alive, process_state, scripted, steps, text_of, until
from support.patience import PATIENCE_S
from support.places import TESTS


class TestExecutionEnvironments(InvokerContract):
    """The contract of invokers, with our own runtime in real environments."""

    @pytest.fixture
    def invoker_of(self) -> InvokerFactory:
        @asynccontextmanager
        async def environments(function: str, timeout_s: float) -> AsyncIterator[Invoker]:
            command = [sys.executable, "-m", "lambda_streaming", f"support.functions.{function}"]
            async with ExecutionEnvironments(
                command,
                env={"PYTHONPATH": str(TESTS)},
                timeout_s=timeout_s,
                grace_s=1.0,
                settling_s=PATIENCE_S,
            ) as pool:
                yield pool

        return environments


def only(pool: ExecutionEnvironments) -> int:
    """The process of the only environment."""
    (environment,) = pool.environments
    return environment.process.id


def idle(pool: ExecutionEnvironments) -> bool:
    """Whether all environments wait for an event."""
    return all(environment.state is EnvironmentState.IDLE for environment in pool.environments)


async def test_nothing_is_started_before_the_first_request() -> None:
    """Environments cost nothing until they are needed."""
    async with scripted() as pool:
        assert pool.environments == ()


async def test_environments_started_ahead_wait_for_the_first_requests_without_an_invocation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two idle processes exist before any invocation, and the first request uses one of them."""
    caplog.set_level("INFO", "lambda_streaming.emulator")
    async with scripted() as pool:
        await pool.start_ahead(2)
        ahead = {environment.process.id for environment in pool.environments}
        assert len(ahead) == 2
        assert idle(pool)
        assert "REPORT" not in caplog.text
        await answer(pool)
        assert {environment.process.id for environment in pool.environments} == ahead


async def test_environments_started_ahead_are_limited_by_the_maximum_concurrency() -> None:
    """The maximum concurrency limits environments that are started ahead as well."""
    async with scripted(max_concurrency=1) as pool:
        await pool.start_ahead(3)
        assert len(pool.environments) == 1


async def test_a_failed_start_ahead_is_reported_and_leaves_nothing_behind() -> None:
    """The error is the one that a request would get."""
    async with ExecutionEnvironments(["/no/such/program"]) as pool:
        with pytest.raises(FunctionFailed, match="InvalidEntrypoint"):
            await pool.start_ahead(2)
        assert pool.environments == ()


async def test_sequential_requests_are_served_by_the_same_environment() -> None:
    """This holds even when a request arrives before the runtime has polled for its next event."""
    async with scripted() as pool:
        processes = {await answer(pool, ["write-pid"]) for _ in range(20)}
    assert len(processes) == 1


async def test_twenty_requests_at_once_run_in_twenty_environments() -> None:
    """Each invocation has an environment to itself; all of them wait at the gate at the same time."""
    async with scripted(max_concurrency=20) as pool, gate() as gate_:
        answers = [asyncio.create_task(answer(pool, ["gate", gate_.port], ["write-pid"])) for _ in range(20)]
        await _all_arrived(gate_, 20)
        for _ in answers:
            await gate_.open()
        assert len(set(await asyncio.gather(*answers))) == 20


async def _all_arrived(gate_: Gate, number: int) -> None:
    await until(lambda: gate_._arrived.qsize() == number, f"{number} environments at the gate")


async def test_a_request_past_the_maximum_is_throttled_and_starts_nothing() -> None:
    """The running invocation is not disturbed, and its slot is free again afterwards."""
    async with scripted(max_concurrency=1) as pool, gate() as gate_:
        first = asyncio.create_task(answer(pool, ["gate", gate_.port], ["write", "first"]))
        await _all_arrived(gate_, 1)
        with pytest.raises(Throttled):
            await pool.invoke(steps(["write", "second"]))
        assert len(pool.environments) == 1
        await gate_.open()
        assert await first == "first"
        assert await answer(pool, ["write", "third"]) == "third"


async def test_the_most_recently_used_environment_is_reused_first() -> None:
    """The others can then reach their idle timeout."""
    async with scripted() as pool, gate() as one, gate() as two:
        first = asyncio.create_task(answer(pool, ["gate", one.port], ["write-pid"]))
        await _all_arrived(one, 1)
        second = asyncio.create_task(answer(pool, ["gate", two.port], ["write-pid"]))
        await _all_arrived(two, 1)
        await two.open()
        await second
        await until(lambda: sum(e.state is EnvironmentState.IDLE for e in pool.environments) == 1, "one idle")
        await one.open()
        recent = await first
        await until(lambda: idle(pool), "both idle")
        assert await answer(pool, ["write-pid"]) == recent


async def test_an_idle_environment_is_frozen_until_the_next_event() -> None:
    """Threads and child processes that the function left behind run during invocations only."""
    ticks = asyncio.Queue[bytes]()

    async def clock(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while dots := await reader.read(100_000):
            ticks.put_nowait(dots)
        writer.close()

    server = await asyncio.start_server(clock, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, scripted() as pool:
        child = int(await answer(pool, ["tick", port], ["child"]))
        await until(lambda: idle(pool), "idle")
        await until_stopped(only(pool))
        await until_stopped(child)
        while await _ticked(ticks):
            pass
        response = await pool.invoke(steps(["write", "awake"], ["hang"]))
        assert await anext(response.body) == b"awake"
        assert await asyncio.wait_for(ticks.get(), PATIENCE_S)
        assert await process_state(child) != "T"


async def _ticked(ticks: asyncio.Queue[bytes]) -> bool:
    """Whether a tick comes within a hundred times its interval."""
    try:
        await asyncio.wait_for(ticks.get(), 0.2)
    except TimeoutError:
        return False
    return True


async def until_stopped(process: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await process_state(process) != "T":  # noqa: ASYNC110 (nothing announces it)
            await asyncio.sleep(0.005)


async def test_without_freezing_work_left_behind_goes_on() -> None:
    """`freeze=False` leaves idle environments running."""
    async with scripted(freeze=False) as pool:
        await answer(pool, ["write", "x"])
        await until(lambda: idle(pool), "idle")
        assert not pool.environments[0].process.frozen
        assert await process_state(only(pool)) != "T"


@pytest.mark.parametrize("first", [[], [["write", "partial"]]], ids=["before", "after"])
async def test_a_timeout_kills_the_whole_process_group_and_the_next_request_has_a_fresh_one(
    first: list[list[object]], caplog: pytest.LogCaptureFixture
) -> None:
    """Child processes die too, before and after the first byte; the log has Lambda's words, once."""
    async with scripted(timeout_s=2.0) as pool:
        child = int(await answer(pool, ["child"]))
        process = only(pool)
        with pytest.raises((InvocationTimedOut, ResponseBrokenOff)) as ended:
            await answer(pool, *first, ["hang"])
        assert isinstance(ended.value, ResponseBrokenOff if first else InvocationTimedOut)
        await gone(process, child)
        assert await answer(pool, ["write", "fresh"]) == "fresh"
        assert only(pool) != process
    assert caplog.text.count("Task timed out after 2.00 seconds") == 1


async def test_a_timeout_after_the_response_is_logged_and_kills(caplog: pytest.LogCaptureFixture) -> None:
    """The client has its complete response; a handler that hangs afterwards is killed."""
    async with scripted(timeout_s=2.0) as pool:
        assert await answer(pool, ["write", "done"], ["end"], ["hang"]) == "done"
        process = only(pool)
        await gone(process)
        await until(lambda: not pool.environments, "the environment is removed")
    assert caplog.text.count("Task timed out after 2.00 seconds") == 1


async def test_a_process_killed_in_mid_response_breaks_it_off_and_is_replaced() -> None:
    """The bytes sent so far arrive; then the body raises, because it can never be complete."""
    async with scripted() as pool:
        response = await pool.invoke(steps(["write", "partial"], ["hang"]))
        assert await anext(response.body) == b"partial"
        os.kill(only(pool), signal.SIGKILL)
        with pytest.raises(ResponseBrokenOff):
            await text_of(response)
        assert await answer(pool, ["write", "next"]) == "next"


async def test_a_crash_before_the_first_byte_is_reported_with_the_last_line_of_output() -> None:
    """The error holds the exit status and the last line of output."""
    async with scripted() as pool:
        with pytest.raises(FunctionFailed) as failed:
            await answer(pool, ["print", "out of cheese"], ["exit", 3])
        assert failed.value.error_type == "Runtime.ExitError"
        assert failed.value.error_message == "Runtime exited with exit status 3: out of cheese"
        assert await answer(pool, ["write", "next"]) == "next"


async def test_a_crash_is_not_blamed_on_a_line_of_an_earlier_invocation() -> None:
    """An error never quotes another user's output, not even output that has not been read yet."""
    lines = "cache miss for user 42\n" * 2000
    async with scripted("print,starting") as pool:
        for _ in range(3):
            assert await answer(pool, ["write", "ok"], ["end"], ["print", lines]) == "ok"
            with pytest.raises(FunctionFailed) as failed:
                await answer(pool, ["exit", 3])
            assert failed.value.error_message == "Runtime exited with exit status 3"


async def test_a_response_that_was_complete_before_the_crash_is_delivered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No byte of the response is lost, and the crash is logged."""
    async with scripted() as pool:
        assert await answer(pool, ["write", "all of it"], ["end"], ["exit", 1]) == "all of it"
        await until(lambda: not pool.environments, "the environment is removed")
    assert "Runtime exited with exit status 1 after its response" in caplog.text


async def test_a_reload_replaces_idle_environments_now_and_busy_ones_after_their_invocation() -> None:
    """A running invocation is not disturbed; no invocation after the reload sees an old process."""
    async with scripted(max_concurrency=2) as pool, gate() as gate_:
        busy = asyncio.create_task(answer(pool, ["write-pid"], ["gate", gate_.port], ["write", "end"]))
        await _all_arrived(gate_, 1)
        idle_one = await answer(pool, ["write-pid"])
        await until(lambda: sum(e.state is EnvironmentState.IDLE for e in pool.environments) == 1, "one idle")
        pool.reload()
        await gone(int(idle_one))
        new = await answer(pool, ["write-pid"])
        await gate_.open()
        old, end = (await busy).splitlines()
        assert end == "end"
        await gone(int(old))
        assert new.strip() not in (old, idle_one.strip())
        assert await answer(pool, ["write-pid"]) == new


async def test_a_process_that_ends_while_idle_is_replaced() -> None:
    """The next request gets a new environment instead of the dead one."""
    async with scripted(max_concurrency=1) as pool:
        await answer(pool, ["write", "x"])
        await until(lambda: idle(pool), "idle")
        (environment,) = pool.environments
        os.kill(environment.process.id, signal.SIGKILL)
        await until(environment.process.ended.done, "the process is reaped")
        assert await answer(pool, ["write", "next"]) == "next"


@pytest.mark.parametrize(
    ("arguments", "error_type", "message"),
    [
        (["init-error,Runtime.ImportModuleError,no app", "exit,1"], "Runtime.ImportModuleError", "no app"),
        (["print,no module", "exit,1"], "Runtime.ExitError", "Runtime exited with exit status 1: no module"),
        (["hang"], "Sandbox.Timedout", "Init timed out after 0.50 seconds"),
        (["kill"], "Runtime.ExitError", "Runtime exited with signal: killed"),
    ],
    ids=["reported", "exit", "hang", "killed"],
)
async def test_a_failed_start_fails_the_request_and_is_not_retried(
    arguments: list[str], error_type: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is logged; only the next request starts another environment."""
    init_timeout_s = 0.5 if "hang" in arguments else PATIENCE_S
    async with scripted(*arguments, init_timeout_s=init_timeout_s) as pool:
        for attempt in (1, 2):
            with pytest.raises(FunctionFailed) as failed:
                await pool.invoke(steps(["write", "x"]))
            assert (failed.value.error_type, failed.value.error_message) == (error_type, message)
            assert pool.environments == ()
            assert caplog.text.count("started as process") <= attempt
    assert caplog.text.count(f"{error_type}: {message}") == 2


async def test_a_missing_command_fails_the_request() -> None:
    """The error names the command."""
    async with ExecutionEnvironments(["/nowhere/at-all"]) as pool:
        with pytest.raises(FunctionFailed) as failed:
            await pool.invoke(steps())
    assert failed.value.error_type == "Runtime.InvalidEntrypoint"
    assert failed.value.error_message == "cannot start '/nowhere/at-all': No such file or directory"


async def test_a_cancelled_request_does_not_stop_the_invocation() -> None:
    """The environment finishes the invocation and is reused."""
    async with scripted() as pool, gate() as gate_:
        request = asyncio.create_task(pool.invoke(steps(["gate", gate_.port], ["write", "to nobody"])))
        await _all_arrived(gate_, 1)
        request.cancel()
        await gate_.open()
        process = only(pool)
        await until(lambda: idle(pool), "idle")
        assert await answer(pool, ["write-pid"]) == f"{process}\n"


async def test_an_environment_that_reaches_the_idle_timeout_is_shut_down() -> None:
    """The next request starts a new one."""
    async with scripted(idle_timeout_s=0.1) as pool:
        process = int(await answer(pool, ["write-pid"]))
        await gone(process)
        assert pool.environments == ()
        assert await answer(pool, ["write", "again"]) == "again"


async def test_closing_drains_a_running_invocation() -> None:
    """It may finish within the grace period, while new invocations are refused."""
    async with scripted(grace_s=10.0) as pool, gate() as gate_:
        running = asyncio.create_task(answer(pool, ["gate", gate_.port], ["write", "to the end"]))
        await _all_arrived(gate_, 1)
        closing = asyncio.create_task(pool.aclose())
        await until(lambda: pool._closing, "closing")
        with pytest.raises(Throttled):
            await pool.invoke(steps())
        await gate_.open()
        assert await running == "to the end"
        async with asyncio.timeout(PATIENCE_S):
            await closing


async def test_closing_leaves_no_process_behind() -> None:
    """Frozen, busy and SIGTERM-ignoring processes and their children end; pending callers get an error."""
    async with scripted(grace_s=0.0) as pool, gate() as gate_:
        answering = asyncio.create_task(answer(pool, ["child"], ["write-pid"], ["gate", gate_.port]))
        await _all_arrived(gate_, 1)
        frozen = [int(line) for line in (await answer(pool, ["child"], ["write-pid"])).split()]
        deaf = await pool.invoke(steps(["ignore-terminate"], ["write-pid"], ["hang"]))
        busy = int(await anext(deaf.body))
        processes = [environment.process.id for environment in pool.environments]
        assert busy in processes
        async with asyncio.timeout(PATIENCE_S):
            await pool.aclose()
        gate_._arrived.get_nowait().close()
        with pytest.raises(ResponseBrokenOff):
            await answering
        with pytest.raises(ResponseBrokenOff):
            await text_of(deaf)
        await gone(*processes, *frozen)


async def test_two_pools_live_side_by_side() -> None:
    """Closing one does not affect the other."""
    async with scripted(function_name="left") as left:
        async with scripted(function_name="right") as right:
            assert await answer(right, ["write-variable", "AWS_LAMBDA_FUNCTION_NAME"]) == "right"
            assert await answer(left, ["write-variable", "AWS_LAMBDA_FUNCTION_NAME"]) == "left"
        assert await answer(left, ["write", "still here"]) == "still here"


async def test_output_is_logged_line_by_line_with_the_environments_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Output that is not UTF-8 or lacks a final newline is logged too."""
    caplog.set_level("INFO", "lambda_streaming.emulator")
    async with scripted(function_name="fn") as pool:
        await answer(pool, ["print", "one\ntwo grüß"])
        await until(lambda: "[fn-1] two grüß" in caplog.messages, "the second line")
        assert "[fn-1] one" in caplog.messages


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_HANDLER", "function.handler"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/function"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_MAX_CONCURRENCY", "(unset)"),
        ("TZ", ":UTC"),
        ("MINE", "yes"),
        ("INHERITED", "as well"),
    ],
)
async def test_the_environment_has_lambdas_variables(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inherited and configured variables are set as well."""
    monkeypatch.setenv("INHERITED", "as well")
    monkeypatch.setenv("AWS_LAMBDA_MAX_CONCURRENCY", "4")
    async with scripted(env={"MINE": "yes"}, memory_size_mb=512) as pool:
        assert await answer(pool, ["write-variable", name]) == value


@pytest.mark.parametrize(
    "options",
    [
        {"max_concurrency": 0},
        {"timeout_s": 0},
        {"memory_size_mb": 0},
        {"function_name": ""},
        {"env": {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_invalid_settings_are_refused(options: dict[str, object]) -> None:
    """They are refused before any process starts."""
    with pytest.raises(InvalidFunction):
        scripted(**options)


async def test_a_slow_reader_stops_the_process_not_the_memory() -> None:
    """The runtime blocks in its write while the client does not read, and resumes when it does."""
    async with scripted(grace_s=0.0) as pool:
        response = await pool.invoke(steps(["write-until-stopped"]))
        received = 0
        async for chunk in response.body:
            assert len(chunk) <= 65_536
            received += len(chunk)
            if received > 32 * 1024 * 1024:
                break
        assert await is_alive(only(pool))
