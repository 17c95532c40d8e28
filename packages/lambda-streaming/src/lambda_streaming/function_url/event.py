"""A typed view of a payload format 2.0 event, from a Function URL or HTTP API, or of a REST API's event.

Source: Lambda developer guide, "Invoking Lambda function URLs" (request and response payloads). Usable on its
own, in any function, streaming or not:

    event = FunctionUrlEvent.from_payload(payload, context)
    match (event.method, event.segments):
        case ("GET", ("users", user_id)): ...
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Mapping
from typing import Protocol, Self, TypeVar
from urllib.parse import parse_qsl

import msgspec

T = TypeVar("T")

_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_CHARACTERS_PER_ESCAPE = 3


class RemainingTime(Protocol):
    """The part of a Lambda context that `FunctionUrlEvent` needs."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the invocation times out."""
        ...


class InvalidEvent(ValueError):
    """Base of the errors of an event."""


class NotAFunctionUrlEvent(InvalidEvent):
    """Raised for an event of another source, not in payload format 2.0."""


class InvalidEventBody(InvalidEvent):
    """Raised when the body is not valid base64, UTF-8 or JSON, or does not match the requested type."""


class FunctionUrlEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP request as a function receives it. Absent parts are empty.

    Attributes:
        method: as sent, upper case in practice.
        raw_path: undecoded, as far as the service preserves it.
        raw_query_string: undecoded, without `?`.
        segments: the path split at slashes, each segment percent-decoded on its own, without empty ones and
            without the stage, with which an HTTP API begins `rawPath` unless the stage is `$default`.
            `%2F` becomes a slash inside its segment; an escape that is not hexadecimal or not UTF-8 is kept
            verbatim.
        headers: by lower-case name; headers with the same name are joined with commas.
        query: decoded values by decoded name, those of one name joined with commas; see `query_values`.
        cookies: each as `name=value`.
        body: decoded from base64 if `isBase64Encoded` is set; None if the request had none.
        request_id: the invocation's id.
        source_ip: the client's address.
        user_agent: the client's product name.
        deadline: when the invocation times out, in seconds of `time.monotonic()`; None without a context.
    """

    method: str
    raw_path: str = "/"
    raw_query_string: str = ""
    segments: tuple[str, ...] = ()
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    query: Mapping[str, str] = msgspec.field(default_factory=dict)
    cookies: tuple[str, ...] = ()
    body: bytes | None = None
    request_id: str = ""
    source_ip: str = ""
    user_agent: str = ""
    deadline: float | None = None

    @classmethod
    def from_payload(cls, event: object, context: RemainingTime | None = None) -> Self:
        """Read the event that Lambda passed to the handler; `context` provides the deadline.

        Raises:
            NotAFunctionUrlEvent: it has no `requestContext.http.method`, or a version other than 2.0.
            InvalidEventBody: `isBase64Encoded` is set and the body is not base64.
        """
        if not isinstance(event, Mapping):
            raise NotAFunctionUrlEvent(f"a payload 2.0 event is an object, this is {type(event).__name__}")
        if "version" not in event and "httpMethod" in event:
            from lambda_streaming.function_url.rest_event import payload_2_of

            event = payload_2_of(event)
        version = event.get("version", "2.0")
        if version != "2.0":
            raise NotAFunctionUrlEvent(
                f"version is {version!r}, not '2.0': set the payload format version to 2.0"
            )
        request_context = _mapping(event, "requestContext")
        http = _mapping(request_context, "http")
        method = _text(http, "method")
        if not method:
            raise NotAFunctionUrlEvent(
                "requestContext.http.method is missing: not from a Function URL or HTTP API"
            )
        raw_path = _text(event, "rawPath") or _text(http, "path") or "/"
        headers = _lower_case_names(_mapping(event, "headers"))
        cookies = event.get("cookies")
        return cls(
            method=method,
            raw_path=raw_path,
            raw_query_string=_text(event, "rawQueryString"),
            segments=_segments(raw_path, stage=_text(request_context, "stage")),
            headers=headers,
            query={
                name: value
                for name, value in _mapping(event, "queryStringParameters").items()
                if isinstance(name, str) and isinstance(value, str)
            },
            cookies=tuple(c for c in cookies if isinstance(c, str))
            if isinstance(cookies, list | tuple)
            else (),
            body=_body(event),
            request_id=_text(request_context, "requestId"),
            source_ip=_text(http, "sourceIp"),
            user_agent=_text(http, "userAgent") or headers.get("user-agent", ""),
            deadline=None
            if context is None
            else time.monotonic() + context.get_remaining_time_in_millis() / 1000,
        )

    def header(self, name: str) -> str | None:
        """Return the value of a header; its name is case-insensitive."""
        return self.headers.get(name.lower())

    def query_values(self, name: str) -> tuple[str, ...]:
        """Return the decoded values of a query parameter one by one, in order, from the raw query string."""
        pairs = parse_qsl(self.raw_query_string, keep_blank_values=True)
        return tuple(value for key, value in pairs if key == name)

    def cookie(self, name: str) -> str | None:
        """Return the value of the first cookie of that name, undecoded."""
        for cookie in self.cookies:
            key, separator, value = cookie.partition("=")
            if separator and key.strip() == name:
                return value.strip()
        return None

    def text(self) -> str:
        """Return the body as text, empty if there is none.

        Raises:
            InvalidEventBody: it is not UTF-8.
        """
        try:
            return (self.body or b"").decode()
        except UnicodeDecodeError as error:
            raise InvalidEventBody(f"the body is not UTF-8 at byte {error.start}") from error

    def json(self, type: type[T]) -> T:  # noqa: A002 (msgspec's own word for it)
        """Return the body, decoded from JSON and validated as `type`: a msgspec struct, `dict[str, int]`, ...

        Raises:
            InvalidEventBody: there is no body, it is not JSON, or it does not match the type.
        """
        try:
            return msgspec.json.decode(self.body or b"", type=type)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidEventBody(f"the body is not the expected JSON: {error}") from error


def _segments(raw_path: str, *, stage: str) -> tuple[str, ...]:
    segments = [segment for segment in raw_path.split("/") if segment]
    # Names of stages have no characters that could be escaped.
    if segments and stage != "$default" and segments[0] == stage:
        del segments[0]
    return tuple(percent_decoded(segment) for segment in segments)


def percent_decoded(text: str) -> str:
    """Decode percent escapes that are valid UTF-8 and keep all others."""
    return _ESCAPES.sub(lambda run: _decoded_run(run.group()), text)


def _decoded_run(run: str) -> str:
    raw = bytes.fromhex(run.replace("%", ""))
    parts = []
    at = 0
    while at < len(raw):
        try:
            parts.append(raw[at:].decode())
            break
        except UnicodeDecodeError as error:
            parts.append(raw[at : at + error.start].decode())
            parts.append(
                run[(at + error.start) * _CHARACTERS_PER_ESCAPE : (at + error.end) * _CHARACTERS_PER_ESCAPE]
            )
            at += error.end
    return "".join(parts)


def _mapping(parent: Mapping[object, object], key: str) -> Mapping[object, object]:
    value = parent.get(key)
    return value if isinstance(value, Mapping) else {}


def _text(parent: Mapping[object, object], key: str) -> str:
    value = parent.get(key)
    return value if isinstance(value, str) else ""


def _lower_case_names(headers: Mapping[object, object]) -> dict[str, str]:
    lower: dict[str, str] = {}
    for name, value in headers.items():
        if isinstance(name, str) and isinstance(value, str):
            key = name.lower()
            lower[key] = f"{lower[key]},{value}" if key in lower else value
    return lower


def _body(event: Mapping[object, object]) -> bytes | None:
    body = event.get("body")
    if body is None:
        return None
    if not isinstance(body, str):
        raise InvalidEventBody(f"body is {type(body).__name__}, not a string")
    try:
        if event.get("isBase64Encoded") is True:
            return base64.b64decode(body, validate=True)
        return body.encode()
    except binascii.Error as error:
        raise InvalidEventBody(f"isBase64Encoded is true and the body is not base64: {error}") from error
    except ValueError as error:
        raise InvalidEventBody("the body contains characters that no request can contain") from error
