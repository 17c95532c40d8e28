"""A FastAPI app that shows what a front door passes on, and responds with what front doors differ in."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

app = FastAPI()


@app.api_route("/echo/{rest:path}", methods=["GET", "POST"])
async def echo(request: Request, rest: str) -> dict[str, Any]:
    """Show the request."""
    return {
        "method": request.method,
        "path": rest,
        "query": request.query_params.multi_items(),
        "cookies": request.cookies,
        "name": request.headers.get("x-name", "").encode("latin-1").decode(),
        "tags": request.headers.getlist("x-tag"),
        "host": request.url.netloc,
        "client": request.client and request.client.host,
        "body": base64.b64encode(await request.body()).decode(),
    }


@app.get("/lines")
async def lines() -> Response:
    """Respond with repeated headers, cookies and bytes."""
    response = Response(b"\x00\xff", status_code=201, media_type="application/octet-stream")
    response.headers["x-name"] = "one"
    response.headers.append("x-tag", "a")
    response.headers.append("x-tag", "b")
    response.set_cookie("sid", "s1")
    response.set_cookie("theme", "dark")
    return response


@app.get("/stream")
async def stream() -> StreamingResponse:
    """Stream two pieces."""

    async def body() -> AsyncIterator[str]:
        yield "one,"
        yield "two"

    return StreamingResponse(body(), media_type="text/plain")


@app.get("/fails")
async def fails() -> None:
    """Fail before the response."""
    raise RuntimeError("no")
