"""Execution environments with the scripted runtime, and ways to inspect their processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url.invoker import InvocationRequest, InvocationResponse
from support.patience import PATIENCE_S

SCRIPTED = (sys.executable, "-ISE", str(Path(__file__).with_name("scripted_runtime.py")))


def scripted(*arguments: str, **options: Any) -> ExecutionEnvironments:  # noqa: ANN401
    """Environments with the scripted runtime; the arguments are its first steps, the options the pool's."""
    defaults = {"timeout_s": 30.0, "grace_s": 1.0, "settling_s": PATIENCE_S}
    return ExecutionEnvironments([*SCRIPTED, *arguments], **{**defaults, **options})


def steps(*taken: list[object]) -> InvocationRequest:
    """An invocation that performs these steps."""
    return InvocationRequest(
        payload=json.dumps(taken).encode(),
        request_id=str(uuid.uuid4()),
        trace_id="Root=1-67e0a000-0123456789abcdef01234567",
    )


async def text_of(response: InvocationResponse) -> str:
    """Read a response to its end."""
    async with asyncio.timeout(PATIENCE_S):
        received = b"".join([chunk async for chunk in response.body])
    await response.body.aclose()
    return received.decode()


async def answer(environments: ExecutionEnvironments, *taken: list[object]) -> str:
    """Execute steps in an environment and return the response's text."""
    async with asyncio.timeout(PATIENCE_S):
        return await text_of(await environments.invoke(steps(*taken)))


async def until(condition: Callable[[], bool], what: str) -> None:
    """Poll until a condition holds that no event signals."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 (nothing announces it)
                await asyncio.sleep(0.005)
    except TimeoutError as error:
        raise TimeoutError(f"timed out waiting: {what}") from error


async def process_state(process: int) -> str:
    """`T` for a stopped process, `Z` for a zombie, another letter for others, empty if there is none."""
    ps = await asyncio.to_thread(
        subprocess.run, ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return ps.stdout.strip()[:1]


async def is_alive(process: int) -> bool:
    """Whether a process runs or is stopped."""
    return await process_state(process) not in ("", "Z")


async def gone(*processes: int) -> None:
    """Wait until none of the processes is alive."""
    async with asyncio.timeout(PATIENCE_S):
        while [p for p in processes if await is_alive(p)]:  # noqa: ASYNC110 (nothing announces it)
            await asyncio.sleep(0.01)
