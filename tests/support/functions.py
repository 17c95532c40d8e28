"""Lambda functions for tests: each runs in-process and, as `support.functions.<name>`, in an environment.

Functions that wait connect to the `gate` port of their event and continue when a line arrives from there, so
a test controls them across processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from lambda_streaming import HttpResponseStream, ResponseStream, streamify_response

Event = Mapping[str, Any]


@streamify_response
async def echo(event: Event, response_stream: ResponseStream, context: Any) -> None:  # noqa: ANN401
    """Write the event and the request id back."""
    response_stream.set_content_type("application/json")
    await response_stream.write(msgspec.json.encode({"event": event, "request_id": context.aws_request_id}))


@streamify_response
async def empty(_event: Event, response_stream: ResponseStream, _context: object) -> None:
    """End the response without a byte."""
    await response_stream.end()


@streamify_response
async def with_prelude(_event: Event, response_stream: ResponseStream, _context: object) -> None:
    """Write a prelude and NULs of its own."""
    HttpResponseStream.from_(
        response_stream, {"statusCode": 201, "headers": {"x-a": "b"}, "cookies": ["c=d"]}
    )
    await response_stream.write(b"\0" * 16)


@streamify_response
async def gated(event: Event, response_stream: ResponseStream, _context: object) -> None:
    """Write `one`, and `two` once the gate opens."""
    await response_stream.write("one")
    await _gate(event)
    await response_stream.write("two")


@streamify_response
async def fails_before(_event: Event, _response_stream: ResponseStream, _context: object) -> None:
    """Fail before the first byte."""
    raise ValueError("too early")


@streamify_response
async def fails_after(event: Event, response_stream: ResponseStream, _context: object) -> None:
    """Fail after the first bytes, once the gate opens."""
    await response_stream.write("partial")
    await _gate(event)
    raise ValueError("too late")


@streamify_response
async def hangs_before(_event: Event, _response_stream: ResponseStream, _context: object) -> None:
    """Never write anything."""
    await asyncio.Event().wait()


@streamify_response
async def hangs_after(_event: Event, response_stream: ResponseStream, _context: object) -> None:
    """Never write more than the first bytes."""
    await response_stream.write("partial")
    await asyncio.Event().wait()


@streamify_response
async def large(event: Event, response_stream: ResponseStream, _context: object) -> None:
    """Write 4 MiB, then notify the gate."""
    for _ in range(64):
        await response_stream.write(b"x" * 65_536)
    await _gate(event)


def plain(event: Event, _context: object) -> dict[str, Any]:
    """Return a result without streaming."""
    return {"statusCode": 201, "body": event.get("body", "")}


def plain_fails(_event: Event, _context: object) -> None:
    """Fail without streaming."""
    raise KeyError("missing")


def plain_unserialisable(_event: Event, _context: object) -> object:
    """Return a value that JSON cannot represent."""
    return object()


async def _gate(event: Event) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", event["gate"])
    writer.write(b"waiting\n")
    await reader.readline()
    writer.close()
    await writer.wait_closed()
