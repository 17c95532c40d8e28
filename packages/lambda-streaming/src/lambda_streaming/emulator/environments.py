"""The execution environments of one function: an `Invoker` that starts, reuses, freezes and replaces them."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from lambda_streaming.emulator import policy
from lambda_streaming.emulator.environment import EnvironmentState, ExecutionEnvironment
from lambda_streaming.emulator.function import Function, InvalidFunction
from lambda_streaming.emulator.invocation import RunningInvocation
from lambda_streaming.emulator.process_guard import ProcessGuard
from lambda_streaming.function_url.invoker import (
    FunctionFailed,
    InvocationRequest,
    InvocationResponse,
    Throttled,
)

logger = logging.getLogger("lambda_streaming.emulator")

DEFAULT_MAX_CONCURRENCY: Final = 10
"""A common limit for new AWS accounts."""


class ExecutionEnvironments:
    """Runs a command as the execution environments of a function; stands behind a `FunctionUrlApp`.

        async with ExecutionEnvironments(["python", "-m", "lambda_streaming", "app.handler"]) as environments:
            app = FunctionUrlApp(environments)

    Environments are started on demand and reused, the most recently used first. Leaving the block gives
    running invocations `grace_s` to finish, then ends all processes; none is left behind.

    Args:
        command: the program and its arguments; it must be a Lambda runtime, i.e. ask the Runtime API
            for events.
        env: additional variables; they override the inherited ones and Lambda's.
        timeout_s: the invocation timeout, after which the environment is killed.
        max_concurrency: the maximum number of environments; requests past what they can run are throttled.
        freeze: whether environments are stopped (SIGSTOP) between invocations, as on Lambda.
        init_timeout_s: the timeout for starting an environment.
        idle_timeout_s: the time after which an idle environment is ended; None keeps it.
        grace_s: how long closing waits for running invocations.
        function_name: as the function sees it; also the environments' names in the log.
        memory_size_mb: as the function sees it; it limits nothing.
        cwd: the command's working directory, by default the current one.
        settling_s: how long a request waits for an environment that has responded but not yet asked for the
            next event, before it starts another one or is throttled.
        environment_concurrency: how many invocations one environment runs at once. More than one makes it a
            Managed Instance: it is never frozen, logs JSON, and an invocation that times out does not end it.

    Raises:
        InvalidFunction: a setting is invalid.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        freeze: bool = True,
        init_timeout_s: float = 10.0,
        idle_timeout_s: float | None = None,
        grace_s: float = 5.0,
        function_name: str = "function",
        memory_size_mb: int = 128,
        cwd: Path | None = None,
        settling_s: float = policy.SETTLING_S,
        environment_concurrency: int = 1,
    ) -> None:
        if max_concurrency < 1:
            raise InvalidFunction("max_concurrency must be at least 1")
        if not 0 <= grace_s < math.inf or not (idle_timeout_s is None or 0 <= idle_timeout_s < math.inf):
            raise InvalidFunction("the grace period and the idle timeout must be finite and not negative")
        self.function = Function(
            command=tuple(command),
            env=dict(os.environ),
            overrides=dict(env or {}),
            cwd=cwd,
            name=function_name,
            memory_size_mb=memory_size_mb,
            timeout_s=timeout_s,
            init_timeout_s=init_timeout_s,
            concurrency=environment_concurrency,
        )
        self._max_environments = max_concurrency
        self._freeze = freeze and environment_concurrency == 1
        self._idle_timeout_s = idle_timeout_s
        self._grace_s = grace_s
        self._settling_s = settling_s
        self._closing = False
        self._cutting_off: asyncio.TimerHandle | None = None
        self._guard = ProcessGuard()
        self._started = 0
        self._environments: set[ExecutionEnvironment] = set()
        self._outdated: set[ExecutionEnvironment] = set()
        self._idle: list[ExecutionEnvironment] = []  # the most recently used last
        self._waiters: deque[asyncio.Future[ExecutionEnvironment | None]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def environments(self) -> tuple[ExecutionEnvironment, ...]:
        """The environments that exist now."""
        return tuple(self._environments)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def invoke(self, request: InvocationRequest) -> InvocationResponse:
        """Run an invocation in a free environment; see `Invoker.invoke`."""
        environment = await self._acquire()
        invocation = RunningInvocation(request, environment=environment.name)
        environment.reserve(invocation)
        task = asyncio.create_task(self._run(environment, invocation))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await invocation.response()

    async def start_ahead(self, count: int) -> None:
        """Start up to `count` idle environments, as provisioned concurrency does.

        The function receives no invocation; fewer are started if `max_concurrency` would be exceeded.

        Raises:
            FunctionFailed: one of them did not start; the log has the reason.
        """
        room = self._max_environments - len(self._environments)
        starting = [
            asyncio.create_task(self._start_one(self._new_environment())) for _ in range(min(count, room))
        ]
        self._running.update(starting)
        for task in starting:
            task.add_done_callback(self._running.discard)
        for outcome in await asyncio.gather(*starting, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _start_one(self, environment: ExecutionEnvironment) -> None:
        try:
            await environment.start()
        finally:
            self._keep_or_remove(environment)

    def reload(self) -> None:
        """Replace all environments, because the function's code has changed.

        Idle ones end now, the others after their invocation. The next invocation starts a new one.
        """
        self._outdated |= self._environments
        for environment in self._idle:
            self._remove(environment)
        self._idle.clear()

    async def aclose(self) -> None:
        """Shut down gracefully: give running invocations `grace_s`, then end all processes. Idempotent."""
        if not self._closing:
            self.begin_closing()
        try:
            if self._running:
                await asyncio.wait(self._running)
        finally:
            self._cut_off()
            for environment in tuple(self._environments):
                self._remove(environment)
            self._idle.clear()
            await asyncio.gather(*self._running, *self._endings, return_exceptions=True)
            await self._guard.close()

    def begin_closing(self) -> None:
        """Accept no more invocations, cancel running ones after `grace_s`; a second call does so at once."""
        if self._closing:
            self._cut_off()
        else:
            self._closing = True
            self._cutting_off = asyncio.get_running_loop().call_later(self._grace_s, self._cut_off)

    def _cut_off(self) -> None:
        if self._cutting_off is not None:
            self._cutting_off.cancel()
        for task in self._running:
            task.cancel()

    async def _acquire(self) -> ExecutionEnvironment:
        environment = self._take_idle() or self._with_room()
        if environment is None and self._may_settle():
            environment = await self._settled()
        if environment is None:
            environment = self._take_idle()
        if environment is None and not self._closing and len(self._environments) < self._max_environments:
            environment = self._new_environment()
        if environment is None:
            if not self._closing:
                logger.warning("Throttled: all %d environments are busy", self._max_environments)
            raise Throttled
        return environment

    def _with_room(self) -> ExecutionEnvironment | None:
        if self._closing:
            return None
        usable = (each for each in self._environments if each.has_room and each not in self._outdated)
        return next(usable, None)

    def _new_environment(self) -> ExecutionEnvironment:
        self._started += 1
        environment = ExecutionEnvironment(
            f"{self.function.name}-{self._started}", self.function, self._guard
        )
        self._environments.add(environment)
        return environment

    def _take_idle(self) -> ExecutionEnvironment | None:
        while self._idle and not self._closing:
            environment = self._idle.pop()
            if environment.alive:
                return environment
            logger.warning("[%s] exited while idle; it is replaced", environment.name)
            self._remove(environment)
        return None

    def _may_settle(self) -> bool:
        return self._settling() > len(self._waiters)

    def _settling(self) -> int:
        return sum(environment.settling for environment in self._environments)

    async def _settled(self) -> ExecutionEnvironment | None:
        """Wait a moment for an environment that has responded but not yet asked for the next event.

        Otherwise one client that sends requests one after the other would need a second environment.
        """
        waiter: asyncio.Future[ExecutionEnvironment | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await asyncio.wait((waiter,), timeout=self._settling_s)
        except asyncio.CancelledError:
            if waiter.done() and (environment := waiter.result()) is not None:
                self._release(environment)
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return waiter.result() if waiter.done() else None

    async def _run(self, environment: ExecutionEnvironment, invocation: RunningInvocation) -> None:
        try:
            if environment.state in (EnvironmentState.NEW, EnvironmentState.STARTING):
                await environment.start()
            await environment.run(invocation)
            if invocation.request.on_log is not None:
                await environment.read_log()
        except FunctionFailed as failure:
            invocation.fail(failure)
        finally:
            if invocation.request.on_log is not None:
                invocation.request.on_log(environment.log_tail)
            invocation.fail(FunctionFailed("Sandbox.Failure", "The emulator stopped"))
            environment.release(invocation)
            if not environment.running:
                self._keep_or_remove(environment)

    def _keep_or_remove(self, environment: ExecutionEnvironment) -> None:
        if self._closing or environment not in self._environments:
            return
        if environment.alive and environment not in self._outdated:
            self._release(environment)
        else:
            self._remove(environment)

    def _release(self, environment: ExecutionEnvironment) -> None:
        if self._waiters:
            self._waiters.popleft().set_result(environment)
            return
        if self._freeze:
            environment.freeze()
        self._idle.append(environment)
        if self._idle_timeout_s is not None:
            asyncio.get_running_loop().call_later(
                self._idle_timeout_s, self._reap, environment, environment.idle_since
            )

    def _reap(self, environment: ExecutionEnvironment, idle_since: float) -> None:
        if environment in self._idle and environment.idle_since == idle_since:
            logger.info("[%s] ended after %g idle seconds", environment.name, self._idle_timeout_s)
            self._idle.remove(environment)
            self._remove(environment)

    def _remove(self, environment: ExecutionEnvironment) -> None:
        self._environments.discard(environment)
        self._outdated.discard(environment)
        while len(self._waiters) > self._settling():
            self._waiters.popleft().set_result(None)
        ending = asyncio.create_task(environment.close())
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
