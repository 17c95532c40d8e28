"""Many streams from one ASGI process: the added latency per event, and the memory per stream.

    .venv/bin/python bench/concurrent_streams.py [STREAMS]

Each stream carries 20 stamped events a second for 10 seconds. Prints the latency from the handler's write to
the client's read, and the growth of the server's resident memory per stream. The budgets for 500 streams
are a p99 under 100 ms and under 100 KB.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import sys
import time
from pathlib import Path

FUNCTIONS = Path(__file__).parent / "functions"
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
STAMP = re.compile(rb'"at":([0-9.]+)')


def _resident_kb(process: int) -> int:
    """Resident memory of a process (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])


async def _read(port: int) -> list[float]:
    taken = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    while line := await reader.readline():
        if stamp := STAMP.search(line):
            taken.append(time.monotonic() - float(stamp[1]))
    writer.close()
    return taken


async def main(streams: int) -> None:
    """Run the benchmark and print its results."""
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--port", "0", "--no-access-log", "ticking:app"),
        cwd=FUNCTIONS,
        stderr=asyncio.subprocess.PIPE,
    )
    assert server.stderr is not None  # noqa: S101 (it is a pipe)
    try:
        while not (address := re.search(rb"http://127.0.0.1:(\d+)", await server.stderr.readline())):
            pass
        port = int(address[1])
        idle_kb = _resident_kb(server.pid)
        reading = [asyncio.create_task(_read(port)) for _ in range(streams)]
        await asyncio.sleep(5)
        busy_kb = _resident_kb(server.pid)
        taken = [latency for stream in await asyncio.gather(*reading) for latency in stream]
    finally:
        server.terminate()
        await server.wait()
    p99 = statistics.quantiles(taken, n=100)[-1]
    print(f"{streams} streams, {len(taken)} events")
    print(f"latency   median {statistics.median(taken) * 1000:.2f} ms   p99 {p99 * 1000:.2f} ms")
    print(f"memory    {(busy_kb - idle_kb) / streams:.0f} KB a stream")


def _streams() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("streams", type=int, nargs="?", default=500, help="at once (default: 500)")
    streams: int = parser.parse_args().streams
    return streams


if __name__ == "__main__":
    asyncio.run(main(_streams()))
