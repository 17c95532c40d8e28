"""One execution environment: a process group, and the Runtime API that delivers its events."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from enum import Enum, auto
from typing import Final

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
    """Runs one invocation at a time. `start` it, `run` invocations while it is alive, `close` it.

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
            name, function_name=function.name, handler=function.handler, is_own=self._is_own
        )
        self._process: ProcessGroup | None = None
        self._process_started = asyncio.Event()
        self._init_ms: float | None = None
        self._invocation: RunningInvocation | None = None

    @property
    def alive(self) -> bool:
        """Whether it can run invocations, now or after the current one."""
        process = self._process
        return self.state is not EnvironmentState.DEAD and process is not None and not process.ended.done()

    @property
    def settling(self) -> bool:
        """Whether its response has ended and it is about to be idle."""
        responded = self._invocation is not None and self._invocation.ended
        return self.state is EnvironmentState.BUSY and responded and self.alive

    @property
    def process(self) -> ProcessGroup:
        """The process group, once started."""
        if self._process is None:
            raise RuntimeError("the environment has not been started")
        return self._process

    async def start(self) -> None:
        """Start the process and wait until its runtime asks for an event.

        Raises:
            FunctionFailed: the runtime never asked; the environment is dead, and the log has the reason.
        """
        self.state = EnvironmentState.STARTING
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
        self._invocation = invocation
        function, request = self._function, invocation.request
        self.process.begin_invocation()
        self.process.thaw()
        began = time.monotonic()
        event = Event(
            payload=request.payload,
            request_id=request.request_id,
            invocation_id=str(uuid.uuid4()),
            deadline_ms=int((time.time() + function.timeout_s) * 1000),
            function_arn=function.arn,
            trace_id=request.trace_id,
            client_context=request.client_context,
        )
        self._api.deliver(event, invocation)
        alive = False
        try:
            async with asyncio.timeout(function.timeout_s):
                alive = await self._until_ready_or_ended(invocation)
        except TimeoutError:
            self.kill()
            if invocation.ended:
                logger.error(  # noqa: TRY400 (the function's error, not the emulator's)
                    "[%s] %s %s", self.name, request.request_id, timeout_message(function.timeout_s)
                )
            invocation.fail(InvocationTimedOut(function.timeout_s))
        self._report(request.request_id, time.monotonic() - began)
        if alive:
            self._become_idle()
        else:
            await self.close()

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

    async def _until_ready_or_ended(self, invocation: RunningInvocation) -> bool:
        process = self.process
        ready = asyncio.ensure_future(self._api.ready())
        try:
            await asyncio.wait((ready, process.ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not process.ended.done():
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
        self._invocation = None
        self.idle_since = time.monotonic()

    def _log_line(self, line: str) -> None:
        output_logger.info("[%s] %s", self.name, line)

    def _report(self, request_id: str, duration_s: float) -> None:
        init = "" if self._init_ms is None else f" Init Duration: {self._init_ms:.2f} ms"
        self._init_ms = None
        logger.info("[%s] REPORT %s Duration: %.2f ms%s", self.name, request_id, duration_s * 1000, init)
