"""A function whose module sets a signal handler and connects on a loop of its own while it is imported."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from lambda_streaming import ResponseStream, streamify_response


def _say_goodbye(*_: object) -> None:
    print("SIGTERM hook ran", flush=True)  # noqa: T201
    sys.exit(0)


signal.signal(signal.SIGTERM, _say_goodbye)

_loop = asyncio.new_event_loop()
asyncio.set_event_loop(_loop)
_reader, _writer = _loop.run_until_complete(
    asyncio.open_connection("127.0.0.1", int(os.environ["DATABASE_PORT"]))
)


@streamify_response
async def handler(event: Any, stream: ResponseStream, context: Any) -> None:  # noqa: ANN401, ARG001
    """Ask the database, and write its response."""
    _writer.write(b"hi\n")
    await _writer.drain()
    await stream.write(await _reader.readline())
