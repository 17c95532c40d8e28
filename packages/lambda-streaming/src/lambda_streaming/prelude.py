"""The HTTP integration prelude: status, headers and cookies in front of a streamed body.

On the wire: a JSON object, exactly eight NUL bytes, then the payload, under a content type of its own.
Source: the Node runtime interface client 4.0.2, `HttpResponseStream`; Lambda developer guide, "Response
streaming".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

PRELUDE_CONTENT_TYPE: Final = "application/vnd.awslambda.http-integration-response"
DELIMITER: Final = b"\0" * 8

MAX_PRELUDE_BYTES: Final = 16 * 1024
"""API Gateway requires the prelude within the first 16 KB; a Function URL's limit is not documented."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, section 5.5: all but the tab
_STATUSES = range(200, 600)  # final ones: a Function URL responds with 502 to the others


class ResponseMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Status, headers and cookies of an HTTP response.

    Attributes:
        status_code: 200 to 599.
        headers: one value per name; Function URLs do not support headers with several values.
        cookies: complete `Set-Cookie` values.

    Raises:
        ValueError: a value that no HTTP response can have.
    """

    status_code: int = 200
    headers: dict[str, str] = {}
    cookies: list[str] = []

    def __post_init__(self) -> None:
        if self.status_code not in _STATUSES:
            raise ValueError(f"statusCode must be from 200 to 599, not {self.status_code}")
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a header name")
            _check_value(f"the header {name}", value)
        for cookie in self.cookies:
            _check_value("a cookie", cookie)


def _check_value(what: str, value: str) -> None:
    if _CONTROL_CHARACTER.search(value):
        raise ValueError(f"the value of {what} holds a control character, such as a line break")


def encode_prelude(metadata: ResponseMetadata | Mapping[str, object]) -> bytes:
    """Return the prelude with its delimiter, to send before the payload.

    JSON escapes NUL, so the delimiter cannot occur earlier.

    Args:
        metadata: a mapping has the keys `statusCode`, `headers` and `cookies`, all optional.

    Raises:
        ValueError: a value or key is invalid, or the prelude exceeds `MAX_PRELUDE_BYTES`.
    """
    if not isinstance(metadata, ResponseMetadata):
        metadata = _from_mapping(metadata)
    prelude = msgspec.json.encode(metadata)
    if len(prelude) > MAX_PRELUDE_BYTES:
        raise ValueError(f"status, headers and cookies take {len(prelude)} bytes of {MAX_PRELUDE_BYTES}")
    return prelude + DELIMITER


def _from_mapping(metadata: Mapping[str, object]) -> ResponseMetadata:
    unknown = sorted(set(metadata) - {"statusCode", "headers", "cookies"})
    if unknown:
        raise ValueError(f"a prelude has statusCode, headers and cookies only, not {', '.join(unknown)}")
    present = {key: value for key, value in metadata.items() if value is not None}
    try:
        return msgspec.convert(present, ResponseMetadata)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


class PreludeParser:
    """Finds the end of a prelude, independent of chunk boundaries.

    Attributes:
        prelude: the JSON, without the delimiter and not validated; None until all of it has been fed.
    """

    def __init__(self) -> None:
        self.prelude: bytes | None = None
        self._begun = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """Feed the next bytes and return the payload among them.

        An announced prelude longer than `MAX_PRELUDE_BYTES` is cut off there, which bounds memory; decoding
        it fails later. The result does not depend on how the bytes are split into chunks.
        """
        if self.prelude is not None:
            return chunk
        searched_from = max(0, len(self._begun) - len(DELIMITER) + 1)
        self._begun += chunk
        longest = MAX_PRELUDE_BYTES + len(DELIMITER)
        end = self._begun.find(DELIMITER, searched_from, longest)
        if end < 0 and len(self._begun) < longest:
            return b""
        self.prelude = bytes(self._begun[: longest if end < 0 else end])
        payload = bytes(self._begun[longest if end < 0 else end + len(DELIMITER) :])
        self._begun.clear()
        return payload
