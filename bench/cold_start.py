"""Cold start: the time from a process's start to the first byte of its first response, and to `start`.

    .venv/bin/python bench/cold_start.py [--runs N] [--pool-ms MS]

Each run of a variant starts a new process, and the variants alternate, so that the machine's load affects all
of them equally. The emulator's Runtime API measures when the process has started (`init`: it asks for an
event), when the first byte of the prelude arrives (`byte`) and when `start` arrives (`start`); all in
milliseconds from the start of the process, best and median. The user pool is a slow server on this machine.

    bare            the runtime and a function that only sends `start`: the cost of Python
    no keys         the stream function; the pool's keys are fetched before `start`
    packaged keys   the same with the keys in the package
    no byte code    the same, but the package (not Python's own library) has to be compiled
    started ahead   packaged keys, everything loaded before the event (SnapStart); measured from the event
    node            Node's official runtime client, the AWS SDK, `start`; after `make test-peers` only
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from lambda_streaming.emulator.function import Function
from lambda_streaming.emulator.invocation import RunningInvocation
from lambda_streaming.emulator.peer import Ends, is_held_by_group
from lambda_streaming.emulator.runtime_api import Event
from lambda_streaming.emulator.runtime_api_server import RuntimeApiServer
from lambda_streaming.function_url.invoker import InvocationRequest
from measuring.user_pool import CLIENT, POOL, REGION, UserPool

ROOT = Path(__file__).parents[1]
FUNCTIONS = ROOT / "bench" / "functions"
NODE_CLIENT = ROOT / ".cache" / "node" / "node_modules" / "aws-lambda-ric" / "index.mjs"
NODE_SDK = ROOT / ".cache" / "bedrock-node"

STREAM = "coachstream.functions.stream_coach_conversation.handler.handler"
WITHIN_S = 30.0


class Variant(msgspec.Struct, frozen=True):
    """A way to start; `is_ahead` means that initialization happens before the request."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = {}
    cwd: Path = ROOT
    is_ahead: bool = False


class Times(msgspec.Struct, frozen=True):
    """Milliseconds from the process's start; if it started ahead, the last two are from the event."""

    init: float
    byte: float
    start: float


def _variants(folder: Path, pool: UserPool, pool_url: str, byte_code: Path) -> list[Variant]:
    keys = folder / "jwks.json"
    keys.write_bytes(pool.packaged_keys)
    nowhere = "http://127.0.0.1:9"
    deployed = {
        "COACHSTREAM_STORE": "dynamodb",
        "DYNAMODB_TABLE_NAME": "All-Items",
        "COACHSTREAM_MODEL": "bedrock",
        "COACHSTREAM_IDENTITY": "cognito",
        "USER_POOL_ID": POOL,
        "APP_CLIENT_ID": CLIENT,
        "COACHSTREAM_RECALL": "pinecone",
        "PINECONE_API_KEY": "pcsk-none",
        "PINECONE_INDEX_HOST": nowhere,
        "AWS_ENDPOINT_URL": nowhere,
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": pool_url,
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": REGION,
    }
    packaged = {**deployed, "COACHSTREAM_JWKS_FILE": str(keys)}
    runtime = [sys.executable, "-m", "lambda_streaming"]
    compiled = {"PYTHONPYCACHEPREFIX": str(byte_code), "PYTHONDONTWRITEBYTECODE": "1"}
    variants = [
        Variant("bare", [*runtime, "first_event.handler"], cwd=FUNCTIONS),
        Variant("no keys", [*runtime, STREAM], deployed),
        Variant("packaged keys", [*runtime, STREAM], packaged),
        Variant("no byte code", [*runtime, STREAM], {**packaged, **compiled}),
        Variant(
            "started ahead",
            [*runtime, STREAM],
            {**packaged, "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"},
            is_ahead=True,
        ),
    ]
    if NODE_CLIENT.exists() and (node := shutil.which("node")):
        command = [node, str(NODE_CLIENT), "first_event_with_sdk.handler"]
        variants.append(Variant("node", command, {"SDK_FOLDER": str(NODE_SDK)}, cwd=FUNCTIONS))
    return variants


async def _cold_start(variant: Variant, request: InvocationRequest) -> Times:
    function = Function(
        command=tuple(variant.command),
        env=dict(os.environ),
        overrides=dict(variant.environment),
        cwd=variant.cwd,
        name="bench",
        memory_size_mb=2048,
        timeout_s=WITHIN_S,
        init_timeout_s=WITHIN_S,
    )
    api = RuntimeApiServer("bench", function_name="bench", handler=function.handler, is_own=_is_own)
    await api.listen()
    invocation = RunningInvocation(request, environment="bench")
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *function.command,
        env=function.variables(api.address),
        cwd=variant.cwd,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            await api.ready()
            is_ready = time.perf_counter()
            deadline_ms = int((time.time() + WITHIN_S) * 1000)
            event = Event(
                payload=request.payload,
                request_id=request.request_id,
                invocation_id=str(uuid.uuid4()),
                deadline_ms=deadline_ms,
                function_arn=function.arn,
                trace_id=request.trace_id,
            )
            api.deliver(event, invocation)
            response = await invocation.response()
            first_byte = time.perf_counter()
            received = b""
            while b'"type":"start"' not in received:
                received += await anext(response.body)
            started = time.perf_counter()
    finally:
        process.kill()
        await process.wait()
        await api.close()
    origin = is_ready if variant.is_ahead else began
    return Times((is_ready - began) * 1000, (first_byte - origin) * 1000, (started - origin) * 1000)


async def _is_own(ends: Ends) -> bool:
    return await asyncio.to_thread(is_held_by_group, ends, os.getpgrp())


def _without_the_package(byte_code: Path) -> None:
    """Delete the package's byte code, but keep that of Python's own library, which Lambda has."""
    library = byte_code / Path(sysconfig.get_path("stdlib")).relative_to("/")
    for compiled in byte_code.rglob("*.pyc"):
        if library not in compiled.parents or "site-packages" in compiled.parts:
            compiled.unlink()


async def main(runs: int, pool_s: float) -> None:
    """Run the benchmark and print its results."""
    pool = UserPool()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        byte_code = folder / "byte-code"
        url = await stack.enter_async_context(pool.serving(pool_s))
        variants = _variants(folder, pool, url, byte_code)
        for variant in variants:
            environment = dict(variant.environment)
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            await _cold_start(msgspec.structs.replace(variant, environment=environment), pool.message("Hi"))
        await asyncio.to_thread(_without_the_package, byte_code)
        taken: dict[str, list[Times]] = {variant.name: [] for variant in variants}
        for _ in range(runs):
            for variant in variants:
                taken[variant.name].append(await _cold_start(variant, pool.message("Hi")))
    _print(taken)


def _print(taken: Mapping[str, Sequence[Times]]) -> None:
    print(f"{'best / median, ms':15}{'init':>15}{'byte':>15}{'start':>15}   start, of `no keys`")
    reference = statistics.median(times.start for times in taken["no keys"])
    for name, runs in taken.items():
        columns = ([run.init for run in runs], [run.byte for run in runs], [run.start for run in runs])
        figures = "".join(f"{min(column):8.0f} /{statistics.median(column):5.0f}" for column in columns)
        print(f"{name:17}{figures}   {statistics.median(columns[-1]) / reference:6.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="of each variant (default: 10)")
    parser.add_argument(
        "--pool-ms", type=float, default=50, metavar="MS", help="the pool's response time (default: 50)"
    )
    arguments = parser.parse_args()
    # Each process is killed during its response.
    logging.getLogger("lambda_streaming.emulator").setLevel(logging.CRITICAL)
    asyncio.run(main(arguments.runs, arguments.pool_ms / 1000))
