"""Relays a model's output: connects to the port in the event's path and writes every line it receives."""

import asyncio
from typing import Any

from lambda_streaming import ResponseStream, streamify_response


@streamify_response
async def handler(event: Any, response_stream: ResponseStream, _context: object) -> None:  # noqa: ANN401
    """Write lines as they arrive, until the model closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(event["rawPath"].strip("/")))
    while line := await reader.readline():
        await response_stream.write(line)
    writer.close()
    await writer.wait_closed()
