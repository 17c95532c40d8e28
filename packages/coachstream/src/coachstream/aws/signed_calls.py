"""Signed calls of AWS services without the SDK's client, with the SDK's exceptions.

The SDK's client takes some 25 layers and 1.2 to 2 ms of processor time for a call, and 0.4 s to load. A
plain environment does not need it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import botocore
import msgspec
from botocore.exceptions import ClientError, HTTPClientError

from coachstream.aws.http_client import HttpClient, HttpResponse
from coachstream.aws.plain_environment import Endpoint, Keys
from coachstream.aws.signature_v4 import RequestSigner

CurrentKeys = Callable[[], Awaitable[Keys]]
"""Returns the credentials for a request, refreshed if they are about to expire."""

USER_AGENT = f"coachstream botocore/{botocore.__version__}"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class MalformedResponse(HTTPClientError):
    """A response that the service did not write; whether the call was executed is unknown."""

    fmt = "the response of {operation} cannot be parsed"


class SignedCalls:
    """Makes the calls of one service.

    Args:
        endpoint: where it is called.
        signing_name: the service's name in signatures.
        keys: the credentials.
        client: the connections.
    """

    def __init__(self, endpoint: Endpoint, signing_name: str, keys: CurrentKeys, client: HttpClient) -> None:
        self.region = endpoint.region
        self._signing_name = signing_name
        self._keys = keys
        self._client = client
        self._signer: RequestSigner | None = None

    async def post(self, target: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """Send a request to a path of the endpoint; the body of the response has not been read.

        Raises:
            botocore.exceptions.BotoCoreError: as `HttpClient.send`, or for want of credentials.
        """
        keys = await self._keys()
        if self._signer is None or self._signer.keys != keys:
            self._signer = RequestSigner(keys, self._signing_name, self.region)
        whole = {"Host": self._client.authority, **headers}
        signed = self._signer.signed("POST", target, whole, body, at=datetime.now(UTC))
        unsigned = (
            ("User-Agent", USER_AGENT),
            ("Accept-Encoding", "identity"),
            ("Content-Length", str(len(body))),
        )
        return await self._client.send("POST", target, [*signed.items(), *unsigned], body)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def encoded(parameters: Mapping[str, object]) -> bytes:
    """The parameters of a call as JSON."""
    try:
        return _encode(parameters)
    except UnicodeEncodeError:
        # Half of a surrogate pair; the service decides about it.
        return json.dumps(msgspec.to_builtins(parameters)).encode()


def decoded(operation: str, body: bytes) -> dict[str, Any]:
    """The content of a successful response.

    Raises:
        MalformedResponse: it is not a JSON object.
    """
    content = _content(body)
    if not isinstance(content, dict):
        raise MalformedResponse(operation=operation)
    return content


def _content(body: bytes) -> object:
    """The JSON of a body, which may have half of a surrogate pair; None if it is not JSON."""
    try:
        return _decode(body) if body else {}
    except msgspec.DecodeError:
        pass
    try:
        return json.loads(body)
    except ValueError:
        return None


def refusal(operation: str, response: HttpResponse, body: bytes, *, code: str | None = None) -> ClientError:
    """The exception for an error response, with what it says, in the format of the SDK.

    Args:
        operation: the operation's name.
        response: the response.
        body: its body.
        code: the error's code, if a header has it.
    """
    found = _content(body)
    content = found if isinstance(found, dict) else {"message": body.decode(errors="replace")}
    names = (code, content.get("__type"), content.get("code"), str(response.status))
    name = next(each for each in names if isinstance(each, str))
    message = content.get("message", content.get("Message"))
    error = {
        **content,
        "Error": {
            "Code": name.partition(":")[0].rpartition("#")[2],
            "Message": message if isinstance(message, str) else "",
        },
        "ResponseMetadata": metadata(response),
    }
    return ClientError(error, operation)  # type: ignore[arg-type]


def metadata(response: HttpResponse) -> dict[str, object]:
    """`ResponseMetadata`, as the SDK has it."""
    found = {"HTTPStatusCode": response.status, "HTTPHeaders": response.headers, "RetryAttempts": 0}
    if request_id := response.headers.get("x-amzn-requestid"):
        found["RequestId"] = request_id
    return found
