"""The server of `concurrent_streams.py`: each stream carries timestamped events at an even pace."""

import asyncio
import os
import time

from lambda_streaming import HttpResponseStream, ResponseStream, streamify_response, to_asgi

PAUSE_S = 0.05
EVENTS = round(float(os.environ.get("TICKING_S", "10")) / PAUSE_S)


@streamify_response
async def handler(_event: object, response_stream: ResponseStream, _context: object) -> None:
    """Write events of about 100 bytes that carry the time they were written."""
    http = HttpResponseStream.from_(response_stream, {"headers": {"content-type": "text/event-stream"}})
    for _ in range(EVENTS):
        await http.write(f'data: {{"type":"chunk","content":"{"x" * 50}","at":{time.monotonic():.6f}}}\n\n')
        await asyncio.sleep(PAUSE_S)


app = to_asgi(handler)
