"""Converts a function's response metadata to the head of an HTTP response: status, headers, cookies.

Source: Lambda developer guide, "Invoking Lambda function URLs" (response payload format); the prelude of a
streamed response has the same keys. Unlike in the guide, but as in the service, every key is optional.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from lambda_streaming.function_url import policy
from lambda_streaming.response_stream import DEFAULT_CONTENT_TYPE

HeaderLine: TypeAlias = tuple[str, str]
RawHeaderLine: TypeAlias = tuple[bytes, bytes]

_Scalar: TypeAlias = str | int | float | bool | None

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_STATUSES_WITHOUT_CONTENT = frozenset({204, 205})
_STATUSES_WITHOUT_BODY = _STATUSES_WITHOUT_CONTENT | {304}


class MalformedResponse(ValueError):
    """Raised when a function's response is not a valid HTTP response; the message has the reason."""


class ReceivedMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The metadata of a response as any runtime may write it: more lenient than `ResponseMetadata`.

    Attributes:
        status_code: a number, or a number as a string; 200 if absent.
        headers: one value per name, or a list of values to join with commas (as lambda_http writes them).
        cookies: `Set-Cookie` values.
    """

    status_code: int | float | str | None = None
    headers: dict[str, _Scalar | list[_Scalar]] | None = None
    cookies: list[str] | None = None


class ResponseHead(msgspec.Struct, frozen=True, kw_only=True):
    """Status and header lines of an HTTP response, validated for any server."""

    status: int
    headers: tuple[HeaderLine, ...]

    @classmethod
    def from_metadata(cls, metadata: ReceivedMetadata, *, default_content_type: str) -> ResponseHead:
        """Apply the header rules. A response without content has no content type, not even a given one.

        Raises:
            MalformedResponse: a status, header or cookie is invalid.
        """
        lines = [line for name, value in (metadata.headers or {}).items() for line in _lines(name, value)]
        status = _status(metadata.status_code)
        if status in _STATUSES_WITHOUT_CONTENT:
            lines = [(name, value) for name, value in lines if name != "content-type"]
        elif status not in _STATUSES_WITHOUT_BODY and all(name != "content-type" for name, _ in lines):
            lines.insert(0, ("content-type", default_content_type))
        lines += [("set-cookie", _checked_value("cookies", cookie)) for cookie in metadata.cookies or ()]
        return cls(status=status, headers=tuple(lines))

    @classmethod
    def from_values(
        cls,
        status_code: float | str | None,
        values: Mapping[str, Sequence[_Scalar]],
        *,
        default_content_type: str,
    ) -> ResponseHead:
        """Return a head in which each value is a line of its own, as API Gateway and load balancers send it.

        Raises:
            MalformedResponse: a status or header is invalid.
        """
        lines = [
            line for name, of_name in values.items() for value in of_name for line in _lines(name, value)
        ]
        status = _status(status_code)
        if status not in _STATUSES_WITHOUT_BODY and all(name != "content-type" for name, _ in lines):
            lines.insert(0, ("content-type", default_content_type))
        return cls(status=status, headers=tuple(lines))

    @classmethod
    def from_prelude(cls, prelude: bytes) -> ResponseHead:
        """Read a prelude, the JSON before the delimiter.

        Raises:
            MalformedResponse: it is not a JSON object with the keys of a prelude, or a value is invalid.
        """
        try:
            metadata = msgspec.json.decode(prelude, type=ReceivedMetadata)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise MalformedResponse(f"the prelude is not valid: {error}") from error
        return cls.from_metadata(metadata, default_content_type=DEFAULT_CONTENT_TYPE)

    @classmethod
    def without_prelude(cls, content_type: str) -> ResponseHead:
        """Return the head of a response that has only a content type.

        Raises:
            MalformedResponse: the content type cannot be a header's value.
        """
        value = _checked_value("content-type", content_type)
        return cls(status=200, headers=(("content-type", value or DEFAULT_CONTENT_TYPE),))

    def allows_body(self, method: str) -> bool:
        """Return whether a response to that method may have a body (RFC 9110, section 6.4.1)."""
        return method != "HEAD" and self.status not in _STATUSES_WITHOUT_BODY


def raw_headers(lines: Sequence[HeaderLine]) -> list[RawHeaderLine]:
    """Return header lines in ASGI's format: bytes."""
    return [(name.encode("ascii"), value.encode(policy.HEADER_ENCODING, "replace")) for name, value in lines]


def _status(value: float | str | None) -> int:
    if value is None:
        return 200
    try:
        status = int(value)
    except (ValueError, OverflowError) as error:
        raise MalformedResponse(f"statusCode is {value!r}") from error
    if status != (float(value) if isinstance(value, float) else status) or status not in policy.STATUSES:
        raise MalformedResponse(f"statusCode is {value!r}, not a final HTTP status")
    return status


def _lines(name: str, value: _Scalar | list[_Scalar]) -> Iterator[HeaderLine]:
    if not _NAME.fullmatch(name):
        raise MalformedResponse(f"{name!r} is not a header name")
    name = name.lower()
    if name in policy.HOP_BY_HOP_HEADERS:
        return
    values = [
        _checked_value(name, _as_text(item))
        for item in (value if isinstance(value, list) else (value,))
        if item is not None
    ]
    if name in policy.REMAPPED_HEADERS:
        name = f"x-amzn-remapped-{name}"
    if name == "set-cookie":
        yield from ((name, item) for item in values)
    elif values:
        yield name, ",".join(values)


def _as_text(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _checked_value(name: str, value: str) -> str:
    if _CONTROL_CHARACTER.search(value):
        raise MalformedResponse(f"the value of {name} holds a control character")
    return value.strip(" \t")
