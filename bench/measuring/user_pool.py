"""A user pool on this machine, with one user who is signed in."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from jwt.algorithms import RSAAlgorithm

from coachstream.identity.cognito import pool_issuer
from coachstream.identity.packaged_keys import key_set
from lambda_streaming.function_url.http_to_event import HttpRequest, invocation_request
from lambda_streaming.function_url.invoker import InvocationRequest

REGION, POOL, CLIENT = "us-west-2", "us-west-2_aBcDeFgHi", "1h57kf5cpq17m0eml12EXAMPLE"
USER, COACH = "user-1", "coach-1"
_ISSUER = pool_issuer(REGION, POOL)


class UserPool:
    """A pool with one key, and a token for its user.

    Attributes:
        packaged_keys: the content of the file that a package may hold.
    """

    def __init__(self) -> None:
        key = generate_private_key(public_exponent=65537, key_size=2048)
        public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        self._jwks = json.dumps({"keys": [{**public, "kid": "key-1", "use": "sig", "alg": "RS256"}]}).encode()
        self.packaged_keys = key_set(_ISSUER, self._jwks).to_bytes()
        claims = {
            "sub": "subject",
            "iss": _ISSUER,
            "aud": CLIENT,
            "token_use": "id",
            "exp": int(time.time()) + 3600,
            "custom:user_id": USER,
        }
        self._token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "key-1"})

    @asynccontextmanager
    async def serving(self, responds_in_s: float) -> AsyncIterator[str]:
        """Serve the key set and give its URL."""

        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(responds_in_s)
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self._jwks)
                writer.write(head + self._jwks)
                await writer.drain()
            writer.close()

        async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def message(self, text: str, *, conversation: str = "conv-1") -> InvocationRequest:
        """The request with which the user sends a message to the coach, with an idempotency key.

        `coachstream.js` sends one with every message. Without one, coachstream first asks the table whether
        the message was sent before, which delays the first chunk by a round trip.
        """
        request = HttpRequest(
            method="POST",
            raw_path=f"/users/{USER}/coaches/{COACH}/conversations/{conversation}/stream",
            raw_query_string="",
            headers=(
                ("host", "bench"),
                ("authorization", f"Bearer {self._token}"),
                ("content-type", "application/json"),
            ),
        )
        return invocation_request(
            request,
            json.dumps({"userResponse": text, "clientMessageId": str(uuid.uuid4())}).encode(),
            url_id="bench",
            request_id=str(uuid.uuid4()),
            trace_id="Root=1-67e0a000-0123456789abcdef01234567",
        )
