"""Cold starts of the stream function in its own execution environments."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from coachstream.identity.packaged_keys import key_set
from contracts.token_verifier import AUDIENCE, ISSUER, UserPool
from lambda_streaming.emulator import ExecutionEnvironments
from lambda_streaming.function_url.http_to_event import HttpRequest, invocation_request
from lambda_streaming.function_url.invoker import InvocationRequest, InvocationResponse

HANDLER = "coachstream.functions.stream_coach_conversation.handler.handler"
COMMAND = (sys.executable, "-m", "lambda_streaming", HANDLER)
PATH = "/users/user-1/coaches/coach-1/conversations/conv-1/stream"


def cognito_environment(folder: Path, pool_url: str) -> dict[str, str]:
    """Variables for a local store and model, and a user pool whose keys are at `pool_url`."""
    return {
        "COACHSTREAM_STORE": "sqlite",
        "COACHSTREAM_MODEL": "demo",
        "COACHSTREAM_MODEL_DELAY": "0",
        "COACHSTREAM_IDENTITY": "cognito",
        "COACHSTREAM_RECALL": "off",
        "COACHSTREAM_METRICS_NAMESPACE": "off",
        "COACHSTREAM_DATA_DIR": str(folder),
        "USER_POOL_ID": ISSUER.rpartition("/")[2],
        "APP_CLIENT_ID": AUDIENCE,
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": pool_url,
    }


def package_keys(folder: Path, pool: UserPool, *, issuer: str = ISSUER) -> dict[str, str]:
    """Write the pool's current keys as a package does; return the variable with the file's path."""
    path = folder / "packaged-jwks.json"
    path.write_bytes(key_set(issuer, pool.jwks()).to_bytes())
    return {"COACHSTREAM_JWKS_FILE": str(path)}


@asynccontextmanager
async def cold(environment: Mapping[str, str], *, at_once: int = 1) -> AsyncIterator[ExecutionEnvironments]:
    """The function, before any of its environments has started; each runs `at_once` invocations at once."""
    async with ExecutionEnvironments(
        COMMAND, env=environment, timeout_s=30.0, grace_s=1.0, environment_concurrency=at_once
    ) as environments:
        yield environments


def message(token: str, *, path: str = PATH) -> InvocationRequest:
    """A message to the coach, as a Function URL delivers it."""
    request = HttpRequest(
        method="POST",
        raw_path=path,
        raw_query_string="",
        headers=(
            ("host", "abc123.lambda-url.eu-central-1.on.aws"),
            ("authorization", f"Bearer {token}"),
            ("content-type", "application/json"),
        ),
    )
    return invocation_request(
        request,
        json.dumps({"userResponse": "Hi"}).encode(),
        url_id="abc123",
        request_id=str(uuid.uuid4()),
        trace_id="Root=1-67e0a000-0123456789abcdef01234567",
    )


class StreamedResponse:
    """A response while it is streamed.

    Attributes:
        status: the HTTP status, known once the first event has arrived.
    """

    def __init__(self, response: InvocationResponse) -> None:
        self.status = 0
        self._body = response.body
        self._received = b""

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The events of the stream as they arrive; the prelude before them sets the status."""
        async for piece in self._body:
            self._received += piece
            if not self.status:
                prelude, separator, rest = self._received.partition(b"\0" * 8)
                if not separator:
                    continue
                self.status, self._received = json.loads(prelude)["statusCode"], rest
            *frames, self._received = self._received.split(b"\n\n")
            for frame in frames:
                data = b"".join(line[6:] for line in frame.split(b"\n") if line.startswith(b"data: "))
                if data:
                    yield json.loads(data)
        await self._body.aclose()
