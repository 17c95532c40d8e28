"""Warm start: the time from a request to the first event, compared with the official Node runtime client.

    make test-peers
    .venv/bin/python bench/warm_start.py [REQUESTS]

Both functions do the same and run under the same emulator, one request to each in turn, so that the
machine's load affects both equally. Prints the medians and their ratio; the budget is a ratio of at most 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import time
import uuid
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url.invoker import InvocationRequest

ROOT = Path(__file__).parents[1]
FUNCTIONS = ROOT / "bench" / "functions"
NODE_CLIENT = ROOT / ".cache" / "node" / "node_modules" / "aws-lambda-ric" / "index.mjs"
COMMANDS = {
    "python": [sys.executable, "-m", "lambda_streaming", "first_event.handler"],
    "node": [shutil.which("node") or "node", str(NODE_CLIENT), "first_event.handler"],
}


async def _first_byte_s(environments: ExecutionEnvironments) -> float:
    request = InvocationRequest(
        payload=msgspec.json.encode({"version": "2.0", "rawPath": "/"}),
        request_id=str(uuid.uuid4()),
        trace_id="Root=1-67e0a000-0123456789abcdef01234567",
    )
    began = time.perf_counter()
    response = await environments.invoke(request)
    taken = time.perf_counter() - began
    async for _ in response.body:
        pass
    await response.body.aclose()
    return taken


async def main(requests: int) -> None:
    """Run the benchmark and print its results."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    async with AsyncExitStack() as stack:
        pools = {
            name: await stack.enter_async_context(
                ExecutionEnvironments(
                    command, env={**os.environ, "LAMBDA_TASK_ROOT": str(FUNCTIONS)}, cwd=FUNCTIONS
                )
            )
            for name, command in COMMANDS.items()
        }
        for number in range(requests + 20):
            for name, pool in pools.items():
                first_byte_s = await _first_byte_s(pool)
                if number >= 20:  # noqa: PLR2004 (warm by then)
                    taken[name].append(first_byte_s)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    for name, values in taken.items():
        p95 = statistics.quantiles(values, n=20)[-1]
        print(f"{name:7} median {medians[name] * 1000:6.2f} ms   p95 {p95 * 1000:6.2f} ms")
    print(f"ratio   python / node {medians['python'] / medians['node']:.2f}")


def _requests() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("requests", type=int, nargs="?", default=300, help="to each function (default: 300)")
    requests: int = parser.parse_args().requests
    return requests


if __name__ == "__main__":
    number = _requests()
    if not NODE_CLIENT.exists():
        sys.exit("The Node runtime client is not installed: run make test-peers.")
    asyncio.run(main(number))
