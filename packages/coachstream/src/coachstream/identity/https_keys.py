"""`HttpsKeys`: an issuer's key set over HTTPS.

The first request of a cold environment waits for it before it gets its first byte, so it is done with what
is loaded anyway: `http.client` in a thread. PyJWT imports it too, so it adds nothing to a cold start; httpx
would add 80 ms and aiohttp 110 ms. Making the TLS context takes 25 ms, in the same thread.
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
"""A connection that breaks and a server that is out for a moment are tried once more."""

ATTEMPT_S = 1.5
"""Of one attempt, from looking up the name to the last byte; in-region it takes 50 to 150 ms."""

MAX_BYTES = 65_536
"""A user pool's key set has about 900 bytes."""


class HttpsKeys:
    """A `KeySource` that reads a URL; every `load` is a request of its own, on a connection of its own.

    The certificate is verified against the system's authorities (or SSL_CERT_FILE's). Redirects are refused:
    keys come from the issuer itself or not at all. No proxy is used.
    """

    def __init__(self, url: str, *, attempt_s: float = ATTEMPT_S) -> None:
        """Remember the URL; plain http is accepted for this machine only.

        Raises:
            ValueError: it is not such a URL.
        """
        self._parts = checked_endpoint(url)
        self._url = url
        self._attempt_s = attempt_s

    async def load(self) -> bytes:
        """Fetch the document, in a thread, within `ATTEMPTS * attempt_s` seconds.

        Raises:
            KeysUnavailable: it could not be had; the message says why.
        """
        failure = _Failure("not tried", is_passing=True)
        for _ in range(ATTEMPTS):
            try:
                return await self._attempt()
            except _Failure as error:
                failure = error
                if not error.is_passing:
                    break
        raise KeysUnavailable(f"{self._url}: {failure}") from failure

    async def _attempt(self) -> bytes:
        request = _Request(self._parts.hostname or "", self._parts.port, self._attempt_s)
        limit = asyncio.timeout(self._attempt_s)
        try:
            async with limit:
                return await asyncio.to_thread(request.send, self._parts.scheme, self._parts.path)
        except TimeoutError as error:
            raise _Failure(f"no answer within {self._attempt_s:g} s", is_passing=True) from error
        finally:
            # A thread that still reads, a byte now and then, ends here.
            request.break_off()


class _Failure(Exception):
    """One attempt failed; `is_passing` if another may not."""

    def __init__(self, reason: str, *, is_passing: bool) -> None:
        super().__init__(reason)
        self.is_passing = is_passing


class _Request:
    """One GET, in a thread, which another thread can break off."""

    def __init__(self, host: str, port: int | None, within_s: float) -> None:
        self._host = host
        self._port = port
        self._within_s = within_s
        self._connection: HTTPConnection | None = None

    def send(self, scheme: str, path: str) -> bytes:
        """Return the body of an answer with status 200.

        Raises:
            TimeoutError: the server was silent for too long.
            _Failure: for another reason.
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
                    raise _Failure(f"the answer has more than {MAX_BYTES} bytes", is_passing=False)
                if response.length:
                    raise _Failure("the answer broke off", is_passing=True)
                return body
        except SSLCertVerificationError as error:
            raise _Failure(f"its certificate is refused: {error.verify_message}", is_passing=False) from error
        except TimeoutError:
            raise
        except (OSError, HTTPException) as error:
            raise _Failure(_cause(error), is_passing=True) from error
        finally:
            connection.close()

    def break_off(self) -> None:
        """Make `send` fail now, if it waits for the server."""
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
    is_passing = status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _Failure(f"status {status}", is_passing=is_passing)


def _cause(error: Exception) -> str:
    """What the system says of it (`Connection refused`), or else its kind."""
    said = error.strerror if isinstance(error, OSError) else None
    return said or type(error).__qualname__
