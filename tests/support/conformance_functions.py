"""Functions for the conformance cases; the path of the request selects the response.

They wait at the `gate` port of the query string, where there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from lambda_streaming import HttpResponseStream, ResponseStream, streamify_response

Event = Mapping[str, Any]


@streamify_response
async def streamed(event: Event, stream: ResponseStream, _context: object) -> None:  # noqa: C901, PLR0912
    """Stream the response that the path selects."""
    match event["rawPath"]:
        case "/three":
            for word in ("one", "two", "three"):
                await stream.write(word)
                await _gate(event)
        case "/prelude":
            HttpResponseStream.from_(
                stream, {"statusCode": 201, "headers": {"x-one": "1"}, "cookies": ["a=1", "b=2"]}
            )
            await stream.write("body")
        case "/text":
            stream.set_content_type("text/plain")
            await stream.write("text")
        case "/bare":
            await stream.write(b"\x00bytes")
        case "/without-status":
            HttpResponseStream.from_(stream, {"headers": {"x-one": "1"}})
            await stream.write("body")
        case "/redirect":
            HttpResponseStream.from_(stream, {"statusCode": 302, "headers": {"location": "/there"}})
            await stream.end()
        case "/cors":
            HttpResponseStream.from_(stream, {"headers": {"access-control-allow-origin": "*"}})
            await stream.write("body")
        case "/fails-before":
            raise LookupError("before the first byte")
        case "/fails-after":
            await stream.write("partial")
            await _gate(event)
            raise LookupError("after the first byte")
        case "/never-ends":
            await stream.write("unended")
        case "/megabytes":
            for _ in range(int(event["queryStringParameters"]["megabytes"])):
                await stream.write(b"x" * 1024 * 1024)
        case _:
            HttpResponseStream.from_(stream, {"headers": {"content-type": "application/json"}})
            await stream.write(msgspec.json.encode(event))


def buffered(event: Event, _context: object) -> object:
    """Return the response that the path selects."""
    match event["rawPath"]:
        case "/dict":
            return {"hello": "world"}
        case "/list":
            return ["hello", 3, True]
        case "/string":
            return "hello"
        case "/number":
            return 3.5
        case "/status":
            return {"statusCode": "418", "body": "tea", "headers": {"x-one": "1"}, "cookies": ["a=1", "b=2"]}
        case "/base64":
            return {"statusCode": 200, "body": "AAECAw==", "isBase64Encoded": True}
        case _:
            raise LookupError("no such path")


async def _gate(event: Event) -> None:
    port = event.get("queryStringParameters", {}).get("gate")
    if port is not None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"waiting\n")
        await reader.readline()
        writer.close()
        await writer.wait_closed()
