"""What a handler returned instead of writing: a proxy result, or a value.

Source: Lambda developer guide, "Invoking Lambda function URLs" (response payload format): an object with
`statusCode` is a response, and any other value is the body of a response with status 200, as JSON; a string
is sent as it is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

import msgspec

from lambda_streaming.prelude import PRELUDE_KEYS

_JSON: Final = {"content-type": "application/json"}


def response_of(returned: object) -> tuple[Mapping[str, object], bytes]:
    """Return the metadata and the body of the response.

    Raises:
        ValueError: the body is not base64 although the result says so.
        TypeError: a value cannot be encoded as JSON.
    """
    match returned:
        case Mapping() if "statusCode" in returned:
            return _proxy_result(returned)
        case bytes() | bytearray() | memoryview():
            return {"headers": {"content-type": "application/octet-stream"}}, bytes(returned)
        case _:
            return {"headers": _JSON}, _encoded(returned)


def _proxy_result(result: Mapping[str, object]) -> tuple[Mapping[str, object], bytes]:
    metadata = {key: result[key] for key in PRELUDE_KEYS if result.get(key) is not None}
    headers = metadata.get("headers", {})
    names = [*headers, *_names(metadata.get("multiValueHeaders"))] if isinstance(headers, Mapping) else []
    if isinstance(headers, Mapping) and not any(str(name).lower() == "content-type" for name in names):
        metadata["headers"] = {**_JSON, **headers}
    body = _encoded(result.get("body"))
    if result.get("isBase64Encoded"):
        try:
            body = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"isBase64Encoded is true and the body is not base64: {error}") from error
    return metadata, body


def _names(values: object) -> list[object]:
    return list(values) if isinstance(values, Mapping) else []


def _encoded(value: object) -> bytes:
    match value:
        case None:
            return b""
        case str():
            return value.encode()
        case bytes() | bytearray() | memoryview():
            return bytes(value)
        case _:
            return msgspec.json.encode(value)
