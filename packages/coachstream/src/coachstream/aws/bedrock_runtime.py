"""The requests that a turn makes to a model (Bedrock API reference, "Converse" and "ConverseStream")."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from coachstream.aws.http_client import HttpResponse
from coachstream.aws.signed_calls import SignedCalls, decoded, encoded, metadata, refusal

_FAILURE_FROM = 300


class BedrockRequests:
    """The part of the SDK's client that is needed, without the SDK's client."""

    def __init__(self, calls: SignedCalls) -> None:
        self._calls = calls

    async def converse(self, **parameters: object) -> dict[str, Any]:
        """Converse, with the parameters, result and exceptions of the SDK's client."""
        response = await self._post("Converse", "converse", parameters)
        body = await response.read()
        return {**decoded("Converse", body), "ResponseMetadata": metadata(response)}

    async def open_converse_stream(self, **parameters: object) -> HttpResponse:
        """ConverseStream, with the parameters and exceptions of the SDK's client.

        Returns:
            The response, whose body is an undecoded event stream; the caller closes it.
        """
        return await self._post("ConverseStream", "converse-stream", parameters)

    async def _post(self, operation: str, name: str, parameters: dict[str, object]) -> HttpResponse:
        model_id = quote(str(parameters["modelId"]), safe="-._~")
        content = {key: value for key, value in parameters.items() if key != "modelId"}
        response = await self._calls.post(
            f"/model/{model_id}/{name}", {"Content-Type": "application/json"}, encoded(content)
        )
        if response.status >= _FAILURE_FROM:
            body = await response.read()
            raise refusal(operation, response, body, code=response.headers.get("x-amzn-errortype"))
        return response
