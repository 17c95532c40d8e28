"""Any request at all gets a response, and never a 5xx, a hang or a traceback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_streaming import ResponseStream, streamify_response
from lambda_streaming.function_url import CorsConfiguration, FunctionUrlEvent, to_asgi
from support.http_server import connected, serving

EXAMPLES = 300

targets = st.one_of(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40).map(
        lambda t: "/" + t
    ),
    st.text(st.sampled_from("/%.?&=+#*:@2Ff"), max_size=30).map(lambda t: "/" + t),
    st.sampled_from(["*", "http://a.example/b?c", "http://a.example", "//", "/%", "/%ff%", "/?&&=&", "odd"]),
)
methods = st.sampled_from(
    ["GET", "POST", "PUT", "HEAD", "OPTIONS", "PATCH", "DELETE", "TRACE", "BREW", "get"]
)
names = st.one_of(
    st.sampled_from(
        [
            "Origin",
            "Access-Control-Request-Method",
            "Content-Type",
            "Cookie",
            "Expect",
            "X-Amzn-Trace-Id",
            "X-Forwarded-For",
            "Upgrade",
            "TE",
        ]
    ),
    st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True).filter(
        lambda name: (
            name.lower() not in ("content-length", "transfer-encoding", "host", "connection", "upgrade")
        )
    ),
)
values = st.binary(max_size=20).map(
    lambda value: bytes(b for b in value if b == 9 or 0x20 <= b != 0x7F).strip(b" \t")
)
requests = st.tuples(
    methods, targets, st.lists(st.tuples(names, values), max_size=5), st.binary(max_size=200), st.booleans()
)


@streamify_response
async def reads_everything(event: dict[str, Any], response_stream: ResponseStream, context: Any) -> None:  # noqa: ANN401
    """Read every part of the typed event."""
    view = FunctionUrlEvent.from_payload(event, context)
    await response_stream.write(repr((view.segments, view.query, view.cookies, view.headers)))
    await response_stream.write(view.body or b"")


def encoded(
    method: str, target: str, headers: list[tuple[str, bytes]], body: bytes, *, chunked: bool
) -> bytes:
    """Return a request as bytes."""
    lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: localhost", b"Connection: close"]
    lines += [name.encode() + b": " + value for name, value in headers]
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
        body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    else:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Wire:
    """A server that outlives the examples of one property, and the loop that it runs on."""

    def __init__(self) -> None:
        cors = CorsConfiguration(allow_origins=("*",), allow_credentials=True)
        self._runner = asyncio.Runner()
        self._serving = serving(to_asgi(reads_everything, cors=cors, timeout_s=5))
        self.port = self._runner.run(self._serving.__aenter__())

    def exchange(self, request: bytes) -> bytes:
        """Send a request and return the whole response."""
        return self._runner.run(self._exchange(request))

    async def _exchange(self, request: bytes) -> bytes:
        async with connected(self.port) as client:
            await client.send(request)
            return await client.read_to_end()

    def close(self) -> None:
        """Stop the server."""
        self._runner.run(self._serving.__aexit__(None, None, None))
        self._runner.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """Serve for the duration of one test."""
    opened = Wire()
    yield opened
    opened.close()


@settings(max_examples=EXAMPLES)
@given(request=requests)
def test_no_request_is_answered_with_a_5xx_or_a_traceback(
    wire: Wire,
    caplog: pytest.LogCaptureFixture,
    request: tuple[str, str, list[tuple[str, bytes]], bytes, bool],
) -> None:
    """Whatever a client sends, the response is complete and is a success or a client error."""
    caplog.set_level(logging.INFO)
    method, target, headers, body, chunked = request
    response = wire.exchange(encoded(method, target, headers, body, chunked=chunked))
    head, separator, rest = response.partition(b"\r\n\r\n")
    assert separator, response
    assert head.startswith(b"HTTP/1.1 "), head
    assert head.split()[1][:1] in (b"2", b"4"), head
    if b"transfer-encoding: chunked" in head.lower() and method != "HEAD":
        assert rest.endswith(b"0\r\n\r\n")
    assert [record for record in caplog.records if record.exc_info] == []
