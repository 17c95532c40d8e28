"""Converts a function's result to an HTTP response in the BUFFERED invoke mode.

Source: Lambda developer guide, "Invoking Lambda function URLs" (response payload format), corrected by the
observed behaviour of the service: a bare string loses its quotes, other values are serialised again.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from lambda_streaming.function_url.response import MalformedResponse, ReceivedMetadata, ResponseHead

_CONTENT_TYPE = "application/json"


class _ProxyResponse(ReceivedMetadata, frozen=True, kw_only=True, rename="camel"):
    body: msgspec.Raw = msgspec.Raw(b"null")
    is_base64_encoded: bool | None = None


def interpret(result: bytes) -> tuple[ResponseHead, bytes]:
    """Return the head and body of the response for a function's `result`, JSON in UTF-8.

    A result that is not JSON is passed through unchanged.

    Raises:
        MalformedResponse: an object with a `statusCode` that is not a response.
    """
    try:
        value = msgspec.json.decode(result)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ResponseHead.without_prelude(_CONTENT_TYPE), result
    if isinstance(value, dict) and "statusCode" in value:
        return _proxy_response(result)
    if isinstance(value, str):
        return ResponseHead.without_prelude(_CONTENT_TYPE), value.encode()
    return ResponseHead.without_prelude(_CONTENT_TYPE), msgspec.json.format(result, indent=-1)


def _proxy_response(result: bytes) -> tuple[ResponseHead, bytes]:
    try:
        response = msgspec.json.decode(result, type=_ProxyResponse)
    except msgspec.MsgspecError as error:
        raise MalformedResponse(f"the function's result is not a response: {error}") from error
    head = ResponseHead.from_metadata(response, default_content_type=_CONTENT_TYPE)
    return head, _body(response)


def _body(response: _ProxyResponse) -> bytes:
    value = msgspec.json.decode(response.body)
    if value is None:
        return b""
    if not isinstance(value, str):
        return msgspec.json.format(bytes(response.body), indent=-1)
    if not response.is_base64_encoded:
        return value.encode()
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedResponse(f"body is not base64: {error}") from error
