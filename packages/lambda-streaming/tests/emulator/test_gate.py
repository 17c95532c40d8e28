"""What the local servers refuse before the application sees it, tested as raw bytes over a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from lambda_streaming.emulator import http_protocol
from lambda_streaming.emulator.authority import AllowedHosts
from lambda_streaming.emulator.gate import AsgiMessage, Gate, Receive, Send
from lambda_streaming.emulator.serving import EmbeddedServer, listen, server_config
from support.http_server import RawClient, connected, exchange
from support.patience import PATIENCE_S

OK = b"HTTP/1.1 200 OK"


class SlowResponse:
    """Controls when the response to `/slow` is sent."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, scope: AsgiMessage, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            self.asked.set()
            await self.release.wait()
        await echo_path(scope, receive, send)


async def echo_path(scope: AsgiMessage, receive: Receive, send: Send) -> None:
    """Once the body is complete, respond with the path and the client's apparent address."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message.get("more_body", False):
            break
    body = f"<{scope['path']} {scope['client'][0]}>".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def slow() -> SlowResponse:
    return SlowResponse()


@pytest.fixture
async def port(slow: SlowResponse) -> AsyncIterator[int]:
    """A server that accepts requests from pages of its own origin and of https://a.example."""
    gate = Gate(slow, hosts=AllowedHosts.of("127.0.0.1"), origins=frozenset({"https://a.example"}))
    accepting = asyncio.Event()
    server = EmbeddedServer(server_config(gate, has_lifespan=False, grace_s=1), accepting.set)
    with listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        async with asyncio.timeout(PATIENCE_S):
            await accepting.wait()
        yield listening.getsockname()[1]
        server.should_exit = True
        await serving


def request(*lines: str, method: str = "GET", target: str = "/x", body: bytes = b"") -> bytes:
    """A request with a valid `Host` header, unless the lines begin with another one."""
    if not any(line.lower().startswith("host:") for line in lines):
        lines = ("Host: localhost", *lines)
    return "\r\n".join((f"{method} {target} HTTP/1.1", *lines, "", "")).encode() + body


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (request("Host: evil.example"), 403, b"WRONG_HOST"),
        (request("Host: localhost:evil.example"), 403, b"WRONG_HOST"),
        (request("Host: [localhost"), 403, b"WRONG_HOST"),
        (request("Host: localhost@evil.example"), 403, b"WRONG_HOST"),
        (request("Host: "), 403, b"WRONG_HOST"),
        (request("Host: localhost\r\n evil.example"), 403, b"WRONG_HOST"),
        (request("Host: localhost", "Host: evil.example"), 400, b""),
        (request("Host: localhost", "Host: localhost"), 400, b""),
        (b"GET /x HTTP/1.1\r\n\r\n", 400, b""),
        (b"GET /x HTTP/1.0\r\n\r\n", 400, b"BAD_REQUEST"),
        (request(target="http://evil.example/x"), 403, b"WRONG_HOST"),
        (request(target="http://evil@localhost/x"), 403, b"WRONG_HOST"),
        (request("Host: evil.example", target="http://localhost/x"), 403, b"WRONG_HOST"),
        (request(target="ftp://localhost/x"), 400, b"BAD_REQUEST"),
        (request(target="*", method="OPTIONS"), 400, b"BAD_REQUEST"),
        (request(target="localhost:80", method="CONNECT"), 400, b"BAD_REQUEST"),
        (request("Origin: https://evil.example"), 403, b"WRONG_ORIGIN"),
        (request("Origin: null"), 403, b"WRONG_ORIGIN"),
        (request("Origin: http://localhost:1"), 403, b"WRONG_ORIGIN"),
        (request("Origin: https://a.example.evil.example"), 403, b"WRONG_ORIGIN"),
        (request("Origin: http://localhost", "Origin: https://evil.example"), 403, b"WRONG_ORIGIN"),
    ],
)
async def test_a_request_for_another_host_or_from_another_origin_is_refused(
    port: int, sent: bytes, status: int, code: bytes
) -> None:
    """The request does not reach the application, and the connection is closed."""
    response = await exchange(port, sent)
    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert code in response
    assert b"<" not in response


@pytest.mark.parametrize(
    "sent",
    [
        request(),
        request("Host: 127.0.0.1:1"),
        request("Origin: http://localhost"),
        request("Origin: https://a.example"),
        request(target="http://localhost:1/x"),
    ],
)
async def test_a_request_for_this_machine_passes(port: int, sent: bytes) -> None:
    """Any port passes, because ports are forwarded, and so do the page's own origin and allowed ones."""
    async with connected(port) as client:
        await client.send(sent)
        assert (await client.read_until(b">")).startswith(OK)


SMUGGLED = request(target="/smuggled")
CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "sent",
    [
        request("Content-Length: 4", CHUNKED, method="POST", body=b"0\r\n\r\n" + SMUGGLED),
        request(CHUNKED, "Content-Length: 5", method="POST", body=b"0\r\n\r\n" + SMUGGLED),
        b"POST /x HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        request("Content-Length: 0", "Content-Length: 5", method="POST", body=SMUGGLED),
        request("Content-Length: 0, 5", method="POST", body=SMUGGLED),
        request("Content-Length: +0", method="POST", body=SMUGGLED),
        request("Content-Length: -1", method="POST", body=SMUGGLED),
        request("Content-Length: 0x0", method="POST", body=SMUGGLED),
        request("Content-Length : 0", method="POST", body=SMUGGLED),
        request("Transfer-Encoding: identity", method="POST", body=SMUGGLED),
        request("Transfer-Encoding: chunked, identity", method="POST", body=SMUGGLED),
        request("Transfer-Encoding: xchunked", method="POST", body=SMUGGLED),
        request("Transfer-Encoding: \x0bchunked", method="POST", body=b"0\r\n\r\n" + SMUGGLED),
        request("X: a\rContent-Length: 0", method="POST", body=SMUGGLED),
        request("X: a\x00b", method="POST", body=SMUGGLED),
        request(CHUNKED, method="POST", body=b"0x0\r\n\r\n" + SMUGGLED),
        request(CHUNKED, method="POST", body=b"-1\r\n\r\n" + SMUGGLED),
        request(CHUNKED, method="POST", body=b"1\r\naXX0\r\n\r\n" + SMUGGLED),
        request(CHUNKED, method="POST", body=b"1;\nx\r\na\r\n0\r\n\r\n" + SMUGGLED),
        request("X: " + "x" * 1_000_000),
        request(target="/" + "x" * 1_000_000),
    ],
    ids=lambda sent: repr(sent[:60]),
)
async def test_a_request_with_ambiguous_framing_closes_the_connection(port: int, sent: bytes) -> None:
    """The bytes that follow are never parsed as another request, which would allow request smuggling."""
    response = await exchange(port, sent)
    assert response.startswith(b"HTTP/1.1 400 ")
    assert response.count(b"HTTP/1.1 ") == 1
    assert b"smuggled" not in response


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (request(CHUNKED, method="POST", body=b"1;name=value\r\na\r\n0\r\n\r\n"), b"</x 127.0.0.1>"),
        (request("X: a\r\n folded", method="GET"), b"</x 127.0.0.1>"),
        (request("X-Forwarded-For: 10.1.2.3", "Forwarded: for=10.1.2.3"), b"</x 127.0.0.1>"),
    ],
    ids=["chunk extension", "folded header", "forwarded"],
)
async def test_an_unusual_but_unambiguous_request_is_accepted(
    port: int, sent: bytes, expected: bytes
) -> None:
    """Each request on a connection gets its own response; no header changes the client's address."""
    async with connected(port) as client:
        for following in (sent, request(target="/next")):
            await client.send(following)
            response = await client.read_until(b">")
            assert response.startswith(OK)
            assert response.endswith(expected if following is sent else b"</next 127.0.0.1>")


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        ("HEAD", [b""]),
        ("HEAD", [b"GET /x HTTP/1.1\r\nHost: localhost\r\nX: "]),
        ("HEAD", [request(), b"G"]),
        ("HEAD", [request() + b"GET /half HTTP/1.1\r\n"]),
        ("BODY", [request("Content-Length: 10", method="POST", body=b"12345")]),
        ("BODY", [request(CHUNKED, method="POST", body=b"5\r\n12345\r\n")]),
    ],
    ids=["nothing", "half a head", "a second head", "a pipelined head", "half a body", "half of the chunks"],
)
async def test_a_half_open_connection_is_closed(
    port: int, part: str, sent: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part of a request has a deadline, and bytes that trickle in do not extend it."""
    monkeypatch.setitem(http_protocol._TIMEOUT_S, http_protocol._Part[part], 0.3)
    async with connected(port) as client:
        for data in sent[:-1]:
            await client.send(data)
            await client.read_until(b">")
        await client.send(sent[-1])
        dripping = asyncio.create_task(drip(client))
        await client.read_to_end()
        dripping.cancel()


async def drip(client: RawClient) -> None:
    """Keep sending single bytes until the connection fails."""
    with contextlib.suppress(ConnectionError):
        while True:
            await client.send(b"x")
            await asyncio.sleep(0.05)


async def test_a_slow_response_is_no_half_open_connection(
    port: int, monkeypatch: pytest.MonkeyPatch, slow: SlowResponse
) -> None:
    """The timeouts apply to requests; the response to a complete request may take any time."""
    for part in http_protocol._Part:
        monkeypatch.setitem(http_protocol._TIMEOUT_S, part, 0.3)
    async with connected(port) as client:
        await client.send(request(target="/slow"))
        await slow.asked.wait()
        async with connected(port) as half_open:
            await half_open.read_to_end()
        slow.release.set()
        assert (await client.read_until(b">")).startswith(OK)


async def test_the_number_of_connections_is_bounded(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection past the limit is closed at once; when another one closes, there is room again."""
    monkeypatch.setattr(http_protocol, "MAX_CONNECTIONS", 2)
    async with connected(port) as first, connected(port) as second:
        for client in (first, second):
            await client.send(request())
            await client.read_until(b">")
        async with connected(port) as third:
            assert await third.read_to_end() == b""
        await first.close()
        await second.send(request())
        await second.read_until(b">")
        async with connected(port) as fourth:
            await fourth.send(request())
            assert (await fourth.read_until(b">")).startswith(OK)
