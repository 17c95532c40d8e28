"""Latency from a model's event to the client: a streaming function compared with a bare TCP relay.

    .venv/bin/python bench/relay_latency.py [EVENTS]

A stand-in for the model writes a stamped line every 10 ms. It is read by a client of a streaming function
under the emulator, and by a client of a process that only copies bytes, at the same time. Prints the medians
of the time each line took and their ratio; the budget is a ratio of at most 2. The emulator, which Lambda
does not have, is included in our time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

FUNCTIONS = Path(__file__).parent / "functions"
PAUSE_S = 0.01
PADDING = b"x" * 60

BARE_RELAY = """
import asyncio, sys

async def relay(reader, writer):
    source, model = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    while data := await source.read(65536):
        writer.write(data)
        await writer.drain()
    model.close()
    writer.close()

async def main():
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@asynccontextmanager
async def _model(events: int) -> AsyncIterator[int]:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _number in range(events):
            writer.write(f"{time.monotonic():.6f} {PADDING.decode()}\n".encode())
            await writer.drain()
            await asyncio.sleep(PAUSE_S)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def _times(port: int, request: bytes = b"") -> list[float]:
    """How long each line took to arrive, with or without HTTP framing around it."""
    taken = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    while line := await reader.readline():
        if PADDING in line:
            taken.append(time.monotonic() - float(line.split()[0]))
    writer.close()
    return taken


@asynccontextmanager
async def _printing(*command: str) -> AsyncIterator[str]:
    """Run a program and give the first line it prints."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=FUNCTIONS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None  # noqa: S101 (it is a pipe)
    try:
        yield (await process.stdout.readline()).decode()
    finally:
        process.terminate()
        await process.wait()


async def main(events: int) -> None:
    """Run the benchmark and print its results."""
    function = (sys.executable, "-m", "lambda_streaming", "relay.handler")
    emulator = (sys.executable, "-m", "lambda_streaming.emulator", "--port", "0", "--json", "--", *function)
    async with (
        _model(events) as model,
        _printing(sys.executable, "-c", BARE_RELAY, str(model)) as relay,
        _printing(*emulator) as ready,
    ):
        address = urlsplit(json.loads(ready)["url"])
        request = f"GET /{model} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        ours, bare = await asyncio.gather(_times(address.port or 80, request), _times(int(relay)))
    for name, taken in (("function", ours), ("relay", bare)):
        p99 = statistics.quantiles(taken, n=100)[-1]
        median = statistics.median(taken)
        print(f"{name:9} median {median * 1e6:6.0f} us   p99 {p99 * 1e6:6.0f} us   {len(taken)} lines")
    print(f"ratio     function / relay {statistics.median(ours) / statistics.median(bare):.2f}")


def _events() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("events", type=int, nargs="?", default=500, help="of the model (default: 500)")
    events: int = parser.parse_args().events
    return events


if __name__ == "__main__":
    asyncio.run(main(_events()))
