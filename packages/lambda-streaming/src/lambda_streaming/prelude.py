"""The HTTP integration prelude: status, headers and cookies in front of a streamed body.

On the wire: a JSON object, exactly eight NUL bytes, then the payload, under a content type of its own.
Source: the Node runtime interface client 4.0.2, `HttpResponseStream`; Lambda developer guide, "Response
streaming".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

PRELUDE_CONTENT_TYPE: Final = "application/vnd.awslambda.http-integration-response"
DELIMITER: Final = b"\0" * 8

MAX_PRELUDE_BYTES: Final = 16 * 1024
"""API Gateway requires the prelude within the first 16 KB; a Function URL's limit is not documented."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, section 5.5: all but the tab
_STATUSES = range(200, 600)  # final ones: a Function URL responds with 502 to the others


PRELUDE_KEYS: Final = ("statusCode", "headers", "multiValueHeaders", "cookies")


class ResponseMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Status, headers and cookies of an HTTP response.

    Attributes:
        status_code: 200 to 599.
        headers: one value per name.
        multi_value_headers: several values per name. API Gateway sends one line for each; a Function URL,
            which has no such lines, sends them joined with commas.
        cookies: complete `Set-Cookie` values; those among the headers are moved here, as Lambda requires.

    Raises:
        ValueError: a value that no HTTP response can have.
    """

    status_code: int = 200
    headers: dict[str, str] = {}
    multi_value_headers: dict[str, list[str]] = {}
    cookies: list[str] = []

    def __post_init__(self) -> None:
        if self.status_code not in _STATUSES:
            raise ValueError(f"statusCode must be from 200 to 599, not {self.status_code}")
        for name, value in self.headers.items():
            _check_header(name, value)
        for name, values in self.multi_value_headers.items():
            for value in values:
                _check_header(name, value)
        for cookie in self.cookies:
            _check_value("a cookie", cookie)

    def as_prelude(self) -> dict[str, object]:
        """Return the JSON object that Function URLs and API Gateway both read correctly."""
        headers, several, cookies = dict(self.headers), dict(self.multi_value_headers), list(self.cookies)
        cookies += [headers.pop(name) for name in list(headers) if name.lower() == SET_COOKIE]
        for name in [name for name in several if name.lower() == SET_COOKIE]:
            cookies += several.pop(name)
        # API Gateway prefers the list where a name has both.
        listed = {name.lower() for name, values in several.items() if values}
        headers = {name: value for name, value in headers.items() if name.lower() not in listed}
        headers |= {name: ", ".join(values) for name, values in several.items() if values}
        prelude: dict[str, object] = {"statusCode": self.status_code, "headers": headers}
        if several := {name: values for name, values in several.items() if len(values) > 1}:
            prelude["multiValueHeaders"] = several
        return prelude | {"cookies": cookies}


SET_COOKIE: Final = "set-cookie"


def _check_header(name: str, value: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name")
    _check_value(f"the header {name}", value)


def _check_value(what: str, value: str) -> None:
    if _CONTROL_CHARACTER.search(value):
        raise ValueError(f"the value of {what} holds a control character, such as a line break")


def encode_prelude(metadata: ResponseMetadata | Mapping[str, object]) -> bytes:
    """Return the prelude with its delimiter, to send before the payload.

    JSON escapes NUL, so the delimiter cannot occur earlier.

    Args:
        metadata: a mapping has the keys `statusCode`, `headers`, `multiValueHeaders` and `cookies`, all
            optional, with the values that AWS and Node take: see `response_metadata`.

    Raises:
        ValueError: a value or key is invalid, or the prelude exceeds `MAX_PRELUDE_BYTES`.
    """
    if not isinstance(metadata, ResponseMetadata):
        metadata = response_metadata(metadata)
    prelude = msgspec.json.encode(metadata.as_prelude())
    if len(prelude) > MAX_PRELUDE_BYTES:
        raise ValueError(f"status, headers and cookies take {len(prelude)} bytes of {MAX_PRELUDE_BYTES}")
    return prelude + DELIMITER


def response_metadata(metadata: Mapping[str, object]) -> ResponseMetadata:
    """Read metadata as AWS and Node take it.

    A status may be text, a header's value a number, a boolean or a list; a value that is None is left out.

    Raises:
        ValueError: a value or key is invalid; the message names the header.
    """
    unknown = sorted(set(metadata) - set(PRELUDE_KEYS))
    if unknown:
        raise ValueError(f"a prelude has {', '.join(PRELUDE_KEYS)} only, not {', '.join(unknown)}")
    headers: dict[str, str] = {}
    several: dict[str, list[str]] = {}
    for name, value in _entries(metadata, "headers"):
        if isinstance(value, list | tuple):
            several[name] = [_as_text(name, each) for each in value if each is not None]
        else:
            headers[name] = _as_text(name, value)
    for name, value in _entries(metadata, "multiValueHeaders"):
        if not isinstance(value, list | tuple):
            raise ValueError(  # noqa: TRY004 (one kind of error, whatever is wrong with the metadata)
                f"the header {name} in multiValueHeaders is {type(value).__name__}, not a list"
            )
        several[name] = [_as_text(name, each) for each in value if each is not None]
    cookies = metadata.get("cookies") or []
    if not isinstance(cookies, list | tuple) or not all(isinstance(cookie, str) for cookie in cookies):
        raise ValueError("cookies is not a list of texts, one a Set-Cookie header")
    return ResponseMetadata(
        status_code=_as_status(metadata.get("statusCode")),
        headers=headers,
        multi_value_headers=several,
        cookies=list(cookies),
    )


def _entries(metadata: Mapping[str, object], key: str) -> Iterator[tuple[str, object]]:
    entries = metadata.get(key)
    if entries is None:
        return
    if not isinstance(entries, Mapping):
        raise ValueError(f"{key} is {type(entries).__name__}, not an object")  # noqa: TRY004
    for name, value in entries.items():
        if not isinstance(name, str):
            raise ValueError(f"{name!r} is not a header name")  # noqa: TRY004
        if value is not None:
            yield name, value


def _as_text(name: str, value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return str(value)
    raise ValueError(f"the value of the header {name} is {type(value).__name__}, not text")


def _as_status(value: object) -> int:
    match value:
        case None:
            return 200
        case int() if not isinstance(value, bool):
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if value.isascii() and value.isdecimal():
            return int(value)
    raise ValueError(f"statusCode is {value!r}, not a number")


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
