"""Key sets over HTTPS: what is read, what is retried, what is refused."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from coachstream.identity.https_keys import ATTEMPTS, MAX_BYTES, HttpsKeys
from coachstream.identity.keys import KeysUnavailable
from contracts.token_verifier import rsa_key
from support.key_server import KeyServer, Piece, certificate, document, key_server, tls_of
from support.patience import PATIENCE_S

PATH = "/pool/.well-known/jwks.json"


async def test_the_document_is_read_as_it_is(keys_at: KeyServer) -> None:
    """A single GET for the path, on its own connection."""
    keys_at.answers = [document(b'{"keys": []}')]
    assert await HttpsKeys(keys_at.url + PATH).load() == b'{"keys": []}'
    [request] = keys_at.requests
    assert request.startswith(f"GET {PATH} HTTP/1.1\r\n")
    assert f"Host: {keys_at.url.removeprefix('http://')}\r\n" in request


async def test_a_document_in_chunks_is_read_whole(keys_at: KeyServer) -> None:
    """With or without a known length, in any number of pieces."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    keys_at.answers = [[chunked, b"3\r\nabc\r\n", b"4\r\ndefg\r\n", b"0\r\n\r\n"]]
    assert await HttpsKeys(keys_at.url + PATH).load() == b"abcdefg"
    keys_at.answers = [[b"HTTP/1.0 200 OK\r\n\r\nab", b"cd"]]
    assert await HttpsKeys(keys_at.url + PATH).load() == b"abcd"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (document(b"x", status="500 Oops"), "status 500"),
        (document(b"x", status="429 Slow down"), "status 429"),
        ([None], "reset|RemoteDisconnected"),
        ([], "RemoteDisconnected"),
        ([b"garbage\r\n\r\n"], "BadStatusLine"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"], "ended early"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc"], "IncompleteRead"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000], "LineTooLong"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_transient_failure_is_retried_once(
    keys_at: KeyServer, answer: list[Piece], reason: str
) -> None:
    """The retry may succeed; after two failures the error names the URL and the reason."""
    keys_at.answers = [answer, document(b"good")]
    assert await HttpsKeys(keys_at.url + PATH).load() == b"good"
    keys_at.answers, keys_at.requests = [answer], []
    with pytest.raises(KeysUnavailable, match=rf"{keys_at.url}{PATH}: .*({reason})"):
        await HttpsKeys(keys_at.url + PATH).load()
    assert len(keys_at.requests) == ATTEMPTS


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "307 Temporary", "204 Nothing", "403 No", "404 No"]
)
async def test_any_other_response_is_refused_at_once(keys_at: KeyServer, status: str) -> None:
    """It is not a key set, and redirects are not followed."""
    async with key_server() as elsewhere:
        elsewhere.answers = [document(b'{"keys": []}')]
        keys_at.answers = [document(b"", status=status, headers=f"Location: {elsewhere.url}/\r\n")]
        with pytest.raises(KeysUnavailable, match=f"status {status[:3]}"):
            await HttpsKeys(keys_at.url + PATH).load()
        assert len(keys_at.requests) == 1
        assert elsewhere.requests == []


async def test_a_document_at_the_limit_is_read_and_one_past_it_is_not(keys_at: KeyServer) -> None:
    """A response must not exhaust memory, whether or not it declares its length."""
    keys_at.answers = [document(b"x" * MAX_BYTES)]
    assert len(await HttpsKeys(keys_at.url + PATH).load()) == MAX_BYTES
    too_long = b"x" * (MAX_BYTES + 1)
    endless: list[Piece] = [b"HTTP/1.0 200 OK\r\n\r\n", *[too_long] * 20]
    for answer in (document(too_long), endless):
        keys_at.answers, keys_at.requests = [answer], []
        with pytest.raises(KeysUnavailable, match=f"more than {MAX_BYTES} bytes"):
            await HttpsKeys(keys_at.url + PATH).load()
        assert len(keys_at.requests) == 1


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"], ids=repr
)
async def test_silence_ends_within_the_time(keys_at: KeyServer, said: bytes) -> None:
    """Before the first byte, within the headers or within the body; there is one retry."""
    keys_at.answers = [[said, asyncio.Event()]]
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(KeysUnavailable, match=r"no response within 1 s"):
            await HttpsKeys(keys_at.url + PATH, attempt_s=1.0).load()
    assert len(keys_at.requests) == ATTEMPTS


async def test_a_byte_now_and_then_does_not_stretch_the_time() -> None:
    """The timeout covers the whole response, and the reading thread ends, too."""
    hung_up = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            hung_up.set()
        finally:
            writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(KeysUnavailable, match=r"no response within 0\.3 s"):
            await HttpsKeys(f"http://127.0.0.1:{port}{PATH}", attempt_s=0.3).load()
        async with asyncio.timeout(PATIENCE_S):
            await hung_up.wait()


async def test_a_refused_connection_is_reported() -> None:
    """No server listens on the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(KeysUnavailable, match="Connection refused"):
        await HttpsKeys(f"http://127.0.0.1:{port}{PATH}").load()


async def test_an_unknown_host_name_is_reported() -> None:
    """`.invalid` never resolves (RFC 2606)."""
    with pytest.raises(KeysUnavailable, match=r"https://nobody\.invalid/: \S"):
        await HttpsKeys("https://nobody.invalid/").load()


async def test_the_certificate_must_be_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must come from a known authority and match the host; otherwise no request is sent."""
    good, other = (certificate(tmp_path, rsa_key(1), address=each) for each in ("127.0.0.1", "127.0.0.2"))
    async with key_server(tls_of(good)) as server:
        server.answers = [document(b"keys")]
        with pytest.raises(KeysUnavailable, match="bad certificate: self"):
            await HttpsKeys(server.url + PATH).load()
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(good))
        assert await HttpsKeys(server.url + PATH).load() == b"keys"
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    async with key_server(tls_of(other)) as server:
        with pytest.raises(KeysUnavailable, match="bad certificate: IP address mismatch"):
            await HttpsKeys(server.url + PATH).load()
        assert server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/keys",
        "//example.com/keys",
        "http://example.com/keys",
        "http://localhost.example.com/keys",
        "http://127.example.com/keys",
        "ftp://example.com/keys",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@example.com/keys",
        "https://example.com/keys?a=b",
        "https://example.com/keys#a",
        "https://example.com:port/keys",
        "https://example.com/a b",
        "https://example.com/\r\nX: y",
        "https://exämple.com/keys",
    ],
)
def test_a_url_that_keys_cannot_come_from_is_refused(url: str) -> None:
    """Only https, or http on this machine, and nothing that could leak into a header or a log."""
    with pytest.raises(ValueError, match=r"URL|https|[Pp]ort"):
        HttpsKeys(url)


def test_importing_it_imports_no_http() -> None:
    """A function's module loads without HTTP and TLS, which are imported with the first token."""
    program = (
        "import sys, coachstream.identity.cognito;"
        "print([name for name in ('http.client', 'httpx', 'aiohttp', 'jwt') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
