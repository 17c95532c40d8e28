"""`HttpsKeys`: reads an issuer's key set over HTTPS.

The first byte of a cold environment may wait for it, so it uses only modules that are imported anyway:
`http.client` in a thread. PyJWT imports it too, so it adds nothing to a cold start; httpx would add 80 ms and
aiohttp 110 ms. Creating the TLS context takes 25 ms, in the same thread.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from coachstream.endpoint import checked_endpoint
from coachstream.identity.keys import KeysUnavailable

if TYPE_CHECKING:
    from http.client import HTTPConnection

ATTEMPTS = 2
"""A broken connection or a transient server error is retried once."""

ATTEMPT_S = 1.5
"""The time limit of an attempt, from name resolution to the last byte; it takes 50 to 150 ms in-region."""

MAX_BYTES = 65_536
"""A user pool's key set has about 900 bytes."""


class HttpsKeys:
    """A `KeySource` that reads a URL; every `load` makes a new request on a new connection.

    The certificate is verified against the system's certificate authorities (or SSL_CERT_FILE). Redirects are
    rejected: keys come from the issuer itself or not at all. No proxy is used.
    """

    def __init__(self, url: str, *, attempt_s: float = ATTEMPT_S) -> None:
        """Store the URL; plain http is accepted only for loopback addresses.

        Raises:
            ValueError: the URL is not acceptable.
        """
        self._base = checked_endpoint(url)
        self._url = url
        self._attempt_s = attempt_s

    async def load(self) -> bytes:
        """Fetch the document, in a thread, within `ATTEMPTS * attempt_s` seconds.

        Raises:
            KeysUnavailable: the document could not be fetched; the message says why.
        """
        failure = _Failure("not tried", is_transient=True)
        for _ in range(ATTEMPTS):
            try:
                return await self._attempt()
            except _Failure as error:
                failure = error
                if not error.is_transient:
                    break
        raise KeysUnavailable(f"{self._url}: {failure}") from failure

    async def _attempt(self) -> bytes:
        request = _Request(self._base.hostname or "", self._base.port, self._attempt_s)
        limit = asyncio.timeout(self._attempt_s)
        try:
            async with limit:
                return await asyncio.to_thread(request.send, self._base.scheme, self._base.path)
        except TimeoutError as error:
            raise _Failure(f"no response within {self._attempt_s:g} s", is_transient=True) from error
        finally:
            # Ends the thread if it is still reading from a slow server.
            request.abort()


class _Failure(Exception):
    """One attempt failed; `is_transient` if a retry may succeed."""

    def __init__(self, reason: str, *, is_transient: bool) -> None:
        super().__init__(reason)
        self.is_transient = is_transient


class _Request:
    """One GET, in a thread, which another thread can abort."""

    def __init__(self, host: str, port: int | None, within_s: float) -> None:
        self._host = host
        self._port = port
        self._within_s = within_s
        self._connection: HTTPConnection | None = None

    def send(self, scheme: str, path: str) -> bytes:
        """Return the body of a response with status 200.

        Raises:
            TimeoutError: the server was silent for too long.
            _Failure: any other failure.
        """
        from http.client import HTTPException
        from ssl import SSLCertVerificationError

        self._connection = connection = self._opened(scheme)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            with connection.getresponse() as response:
                if response.status != HTTPStatus.OK:
                    raise _refusal(response.status)
                body = response.read(MAX_BYTES + 1)
                if len(body) > MAX_BYTES:
                    raise _Failure(f"the response has more than {MAX_BYTES} bytes", is_transient=False)
                if response.length:
                    raise _Failure("the response ended early", is_transient=True)
                return body
        except SSLCertVerificationError as error:
            raise _Failure(f"bad certificate: {error.verify_message}", is_transient=False) from error
        except TimeoutError:
            raise
        except (OSError, HTTPException) as error:
            raise _Failure(_cause(error), is_transient=True) from error
        finally:
            connection.close()

    def abort(self) -> None:
        """Make `send` fail immediately if it is waiting for the server."""
        if self._connection is not None and self._connection.sock is not None:
            with suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)

    def _opened(self, scheme: str) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        if scheme == "http":
            return HTTPConnection(self._host, self._port, timeout=self._within_s)
        from ssl import create_default_context

        return HTTPSConnection(
            self._host, self._port, timeout=self._within_s, context=create_default_context()
        )


def _refusal(status: int) -> _Failure:
    is_transient = status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _Failure(f"status {status}", is_transient=is_transient)


def _cause(error: Exception) -> str:
    """The operating system's message (`Connection refused`), or else the exception's type."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or type(error).__qualname__
