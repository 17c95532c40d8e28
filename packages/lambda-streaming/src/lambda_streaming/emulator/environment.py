"""One execution environment: a process group, and the Runtime API that delivers its events."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Coroutine
from enum import Enum, auto
from typing import Any, Final

from lambda_streaming.emulator.function import Function
from lambda_streaming.emulator.invocation import RunningInvocation
from lambda_streaming.emulator.peer import Ends, is_held_by_group
from lambda_streaming.emulator.process_group import CommandNotStarted, ProcessGroup, ending
from lambda_streaming.emulator.process_guard import ProcessGuard
from lambda_streaming.emulator.runtime_api import Event
from lambda_streaming.emulator.runtime_api_server import RuntimeApiServer
from lambda_streaming.function_url.invoker import (
    FunctionFailed,
    InvocationTimedOut,
    timeout_message,
)

logger = logging.getLogger("lambda_streaming.emulator")
output_logger = logging.getLogger("lambda_streaming.emulator.output")

TERMINATION_GRACE_S: Final = 2.0
"""Between SIGTERM and SIGKILL. Lambda allows 0.5 s with extensions, and nothing without."""

LAST_WORDS_S: Final = 1.0
"""How long to keep reading sockets after the process has exited; they normally end with it."""


class EnvironmentState(Enum):
    """The lifecycle of an execution environment; DEAD is final."""

    NEW = auto()
    STARTING = auto()
    IDLE = auto()
    BUSY = auto()
    DEAD = auto()


class ExecutionEnvironment:
    """Runs one or more invocations at a time: `start` it, `run` them while it is alive, `close` it.

    Args:
        name: a short name for the log.
        function: what it runs.
        guard: watches its processes.
    """

    def __init__(self, name: str, function: Function, guard: ProcessGuard) -> None:
        self.name = name
        self.state = EnvironmentState.NEW
        self.idle_since = 0.0
        self._function = function
        self._guard = guard
        self._api = RuntimeApiServer(
            name,
            function_name=function.name,
            handler=function.handler,
            is_own=self._is_own,
            concurrency=function.concurrency,
        )
        self._process: ProcessGroup | None = None
        self._process_started = asyncio.Event()
        self._init_ms: float | None = None
        self._starting: asyncio.Task[None] | None = None
        self._invocations: set[RunningInvocation] = set()
        # One event after the other, because each waits until the runtime asks for it.
        self._delivering = asyncio.Lock()

    @property
    def running(self) -> int:
        """How many invocations it runs, or will run once it has started."""
        return len(self._invocations)

    @property
    def has_room(self) -> bool:
        """Whether it can take another invocation while it starts or runs others."""
        ended = self._process is not None and self._process.ended.done()
        is_up = self.state is not EnvironmentState.DEAD and not ended
        return is_up and 0 < self.running < self._function.concurrency

    @property
    def alive(self) -> bool:
        """Whether it can run invocations, now or after the current one."""
        process = self._process
        return self.state is not EnvironmentState.DEAD and process is not None and not process.ended.done()

    @property
    def settling(self) -> bool:
        """Whether its responses have ended and it is about to be idle."""
        responded = bool(self._invocations) and all(each.ended for each in self._invocations)
        return self.state is EnvironmentState.BUSY and responded and self.alive

    @property
    def process(self) -> ProcessGroup:
        """The process group, once started."""
        if self._process is None:
            raise RuntimeError("the environment has not been started")
        return self._process

    def reserve(self, invocation: RunningInvocation) -> None:
        """Take an invocation that `run` will run."""
        self._invocations.add(invocation)

    def release(self, invocation: RunningInvocation) -> None:
        """Forget an invocation, whether it has run or not."""
        self._invocations.discard(invocation)

    async def start(self) -> None:
        """Start the process, once, and wait until its runtime asks for an event.

        Raises:
            FunctionFailed: the runtime never asked; the environment is dead, and the log has the reason.
        """
        if self._starting is None:
            self.state = EnvironmentState.STARTING
            self._starting = asyncio.create_task(self._start_within_time())
        await asyncio.shield(self._starting)

    async def _start_within_time(self) -> None:
        began = time.monotonic()
        try:
            await self._start()
        except FunctionFailed:
            await self.close()
            raise
        self._init_ms = (time.monotonic() - began) * 1000
        self._become_idle()

    async def run(self, invocation: RunningInvocation) -> None:
        """Run one invocation until the runtime asks for the next one; afterwards `alive` may be false.

        The response always ends, before this returns, as soon as the runtime has completed it.
        """
        self.state = EnvironmentState.BUSY
        function, request = self._function, invocation.request
        if self.running <= 1:
            self.process.begin_invocation()
        self.process.thaw()
        began = time.monotonic()
        alive = False
        try:
            async with asyncio.timeout(function.timeout_s):
                await self._deliver(invocation)
                alive = await self._until_ready_or_ended(invocation)
        except TimeoutError:
            alive = self._time_out(invocation)
        self._report(request.request_id, time.monotonic() - began)
        self.release(invocation)
        if self.running:
            return
        if alive:
            self._become_idle()
        else:
            await self.close()

    async def _deliver(self, invocation: RunningInvocation) -> None:
        if self._function.concurrency > 1:
            async with self._delivering:
                await self._wait_for(self._api.ready())
                self._deliver_now(invocation)
            return
        self._deliver_now(invocation)

    def _deliver_now(self, invocation: RunningInvocation) -> None:
        function, request = self._function, invocation.request
        event = Event(
            payload=request.payload,
            request_id=request.request_id,
            invocation_id=str(uuid.uuid4()),
            deadline_ms=int((time.time() + function.timeout_s) * 1000),
            function_arn=function.arn,
            trace_id=request.trace_id,
            client_context=request.client_context,
        )
        if not self.process.ended.done():
            self._api.deliver(event, invocation)

    def _time_out(self, invocation: RunningInvocation) -> bool:
        """End an invocation that takes too long; whether the environment survives it."""
        function, request_id = self._function, invocation.request.request_id
        survives = function.concurrency > 1 and self.alive
        if survives:
            # As in RIE for Managed Instances: the others go on, and a late result is refused.
            self._api.expire(request_id)
        else:
            self.kill()
        if invocation.ended:
            logger.error("[%s] %s %s", self.name, request_id, timeout_message(function.timeout_s))
        invocation.fail(InvocationTimedOut(function.timeout_s))
        return survives

    @property
    def log_tail(self) -> bytes:
        """The end of what it has printed in its last invocation, or while it started."""
        return b"" if self._process is None else self._process.tail

    async def read_log(self) -> None:
        """Wait until everything that it has printed so far has been read."""
        await self.process.read_output()

    def freeze(self) -> None:
        """Stop its processes until the next invocation, as Lambda does."""
        self.process.freeze()

    def kill(self) -> None:
        """Kill its processes; `close` it afterwards."""
        self.state = EnvironmentState.DEAD
        if self._process is not None:
            self._process.kill()

    async def close(self) -> None:
        """End its processes, by force if need be, and stop listening."""
        self.state = EnvironmentState.DEAD
        starting = self._starting
        if starting is not None and starting is not asyncio.current_task() and not starting.done():
            starting.cancel()
            await asyncio.wait((starting,))
        if self._process is not None:
            await self._process.terminate(TERMINATION_GRACE_S)
        await self._api.close()

    async def _start(self) -> None:
        function = self._function
        await self._api.listen()
        await self._guard.start()
        variables = await asyncio.to_thread(function.variables, self._api.address)
        try:
            process = self._process = await ProcessGroup.start(
                function.command,
                env=variables,
                cwd=function.cwd,
                on_line=self._log_line,
            )
        except CommandNotStarted as error:
            raise FunctionFailed("Runtime.InvalidEntrypoint", str(error)) from error
        self._process_started.set()
        self._guard.watch(process)
        logger.info("[%s] started as process %d", self.name, process.id)
        ready = asyncio.ensure_future(self._api.ready())
        waits = (ready, process.ended, self._api.init_failure)
        try:
            done, _ = await asyncio.wait(
                waits, timeout=function.init_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
        if self._api.init_failure in done:
            report = self._api.init_failure.result()
            # The runtime exits by itself now; wait a moment for its last lines of output.
            await asyncio.wait((process.ended,), timeout=LAST_WORDS_S)
            raise FunctionFailed(report.error_type, report.error_message, report.report)
        if process.ended in done:
            await process.finish()
            raise self._exited(process)
        if not done:
            process.kill()
            raise FunctionFailed(
                "Sandbox.Timedout", f"Init timed out after {function.init_timeout_s:.2f} seconds"
            )

    async def _is_own(self, ends: Ends) -> bool:
        """Whether a client of the Runtime API is one of the environment's processes."""
        await self._process_started.wait()
        if self.process.ended.done():  # its id may have been reused by now
            return False
        return await asyncio.to_thread(is_held_by_group, ends, self.process.id)

    async def _wait_for(self, condition: Coroutine[Any, Any, None]) -> bool:
        """Wait for a condition or the end of the process; whether the process goes on."""
        waiting = asyncio.ensure_future(condition)
        try:
            await asyncio.wait((waiting, self.process.ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        return not self.process.ended.done()

    async def _until_ready_or_ended(self, invocation: RunningInvocation) -> bool:
        process = self.process
        # A Managed Instance may ask for another event meanwhile: there the response ends the invocation.
        is_over = self._api.ready() if self._function.concurrency == 1 else invocation.over()
        if await self._wait_for(is_over):
            return True
        if not invocation.ended:
            # What it wrote before it exited is still in transit, at the client's pace.
            await self._api.drained(self._function.timeout_s if invocation.received_bytes else LAST_WORDS_S)
        await process.finish()
        exited = self._exited(process)
        if invocation.ended and invocation.failure is None:
            logger.warning("[%s] %s after its response", self.name, exited.error_message)
        invocation.fail(exited)
        return False

    def _exited(self, process: ProcessGroup) -> FunctionFailed:
        reason = f"Runtime exited with {ending(process.ended.result())}"
        last_words = f": {process.last_line}" if process.last_line else ""
        return FunctionFailed("Runtime.ExitError", f"{reason}{last_words}")

    def _become_idle(self) -> None:
        self.state = EnvironmentState.IDLE
        self.idle_since = time.monotonic()

    def _log_line(self, line: str) -> None:
        output_logger.info("[%s] %s", self.name, line)

    def _report(self, request_id: str, duration_s: float) -> None:
        init = "" if self._init_ms is None else f" Init Duration: {self._init_ms:.2f} ms"
        self._init_ms = None
        logger.info("[%s] REPORT %s Duration: %.2f ms%s", self.name, request_id, duration_s * 1000, init)
