"""Streaming functions of other languages' frameworks run on the emulator: Hono, and Rust's `lambda_http`."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from contracts.invoker import gate
from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url.app import FunctionUrlApp
from support.http_server import serving
from support.official_clients import EMULATOR_TESTS, hono_function, rust_function, web_adapter_command
from support.patience import PATIENCE_S

pytestmark = pytest.mark.peer

FRAMEWORKS = ("hono", "rust")


@asynccontextmanager
async def function_of(
    framework: str, folder: Path
) -> AsyncIterator[tuple[httpx.AsyncClient, ExecutionEnvironments]]:
    """A Function URL in front of the framework's function, and its environments."""
    command = hono_function(folder) if framework == "hono" else rust_function()
    pool = ExecutionEnvironments(
        command,
        env={},
        cwd=folder,
        timeout_s=PATIENCE_S,
        init_timeout_s=PATIENCE_S,
        grace_s=1.0,
        settling_s=PATIENCE_S,
    )
    async with (
        pool,
        serving(FunctionUrlApp(pool, drain_timeout_s=5.0)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client,
    ):
        yield client, pool


def process_of(pool: ExecutionEnvironments) -> int:
    (environment,) = pool.environments
    return environment.process.id


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_function_streams_chunk_by_chunk_in_a_process_that_lives_on(
    framework: str, tmp_path: Path
) -> None:
    """Five times; status, headers and cookies come from the prelude; an error leaves the process alive."""
    async with function_of(framework, tmp_path) as (client, pool):
        processes = set()
        for _ in range(5):
            async with gate() as gate_:
                opened = client.stream("GET", "/three", params={"gate": gate_.port})
                async with opened as response:
                    chunks = response.aiter_raw()
                    for word in (b"one", b"two", b"three"):
                        assert await anext(chunks) == word
                        await gate_.open()
                    assert [chunk async for chunk in chunks] == []
            processes.add(process_of(pool))
        response = await client.get("/prelude")
        assert (response.status_code, response.text, response.headers["x-one"]) == (201, "body", "1")
        cookies = response.headers.get_list("set-cookie")
        assert [cookie.partition(";")[0] for cookie in cookies] == ["a=1", "b=2"]
        # Hono responds with a 500 of its own; lambda_http reports an invocation error.
        failed = await client.get("/fails-before")
        assert failed.status_code == (500 if framework == "hono" else 502)
        assert (await client.get("/prelude")).status_code == 201
        assert {*processes, process_of(pool)} == {process_of(pool)}


async def test_a_hono_app_sees_the_request_and_sends_events(tmp_path: Path) -> None:
    """Path parameters, repeated query parameters, a text body; Server-Sent Events."""
    async with function_of("hono", tmp_path) as (client, _):
        seen = await client.post(
            "/echo/sam?tag=1&tag=2", content="grüß", headers={"content-type": "text/plain; charset=utf-8"}
        )
        assert seen.json() == {"name": "sam", "query": ["1", "2"], "body": "grüß"}
        events = await client.get("/events")
    assert events.headers["content-type"] == "text/event-stream"
    assert events.text == "".join(f"event: tick\ndata: {number}\n\n" for number in range(3))


async def test_a_rust_function_sends_what_it_sends_and_stays_alive(tmp_path: Path) -> None:
    """Its runtime (lambda_runtime 1.5.0) writes an error's trailers into the body, which arrives as it is."""
    async with function_of("rust", tmp_path) as (client, pool):
        async with (
            gate() as gate_,
            client.stream("GET", "/fails-after", params={"gate": gate_.port}) as response,
        ):
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"partial"
            await gate_.open()
            rest = b"".join([chunk async for chunk in chunks])
        assert rest.startswith(b"Lambda-Runtime-Function-Error-Type: Runtime.StreamError\r\n")
        async with client.stream("GET", "/megabytes", params={"megabytes": "32"}) as response:
            assert sum([len(chunk) async for chunk in response.aiter_raw()]) == 32 * 1024 * 1024
        assert pool.environments[0].alive


async def test_behind_the_web_adapter_a_stream_that_fails_looks_complete() -> None:
    """It is built on `lambda_http`: clients get the trailers as text, and no error. The README says so."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pool = ExecutionEnvironments(
        web_adapter_command(port, sys.executable),
        env={"AWS_LWA_INVOKE_MODE": "response_stream", "AWS_LWA_PORT": str(port)},
        cwd=EMULATOR_TESTS / "web_adapter",
        timeout_s=PATIENCE_S,
        init_timeout_s=PATIENCE_S,
        grace_s=1.0,
        settling_s=PATIENCE_S,
    )
    async with (
        pool,
        serving(FunctionUrlApp(pool, drain_timeout_s=5.0)) as address,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{address}", timeout=PATIENCE_S) as client,
    ):
        response = await client.get("/fails")
    assert response.status_code == 200
    assert response.text.startswith("data: 0 /fails\n\nLambda-Runtime-Function-Error-Type: ")
