"""An HTTP request as a web application wants it, whichever service it came through."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from urllib.parse import quote

import msgspec

_PATH_CHARACTERS = "/:@!$&'()*+,;=-._~%"
_DEFAULT_PORT = 443


class UnsupportedEvent(ValueError):
    """Raised for an event that is not an HTTP request, or one that cannot be served; has the reason."""


class ReceivedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    Attributes:
        method: in upper case.
        raw_path: percent-encoded as far as the service preserves it, with the root path.
        root_path: where the service mounts the function: an API's stage, as `/prod`; empty otherwise.
        query_string: percent-encoded, without `?`.
        headers: lines in order, the names in lower case; repeated ones only where the service preserves them.
        client_host: the client's address, or empty.
        server_host: the domain that the client addressed, or empty.
        server_port: its port.
        scheme: `https`, unless the service says otherwise.
        http_version: as in ASGI, `1.1`.
        body: decoded from base64.
    """

    method: str
    raw_path: str
    root_path: str
    query_string: str
    headers: list[tuple[str, str]]
    client_host: str
    server_host: str
    server_port: int
    scheme: str
    http_version: str
    body: bytes


def header_lines(
    several: Mapping[str, list[str]] | None, one: Mapping[str, str] | None
) -> list[tuple[str, str]]:
    """Return header lines from the mapping of lists, or from the other one if there is none."""
    if several:
        return [(name.lower(), value) for name, values in several.items() for value in values]
    return [(name.lower(), value) for name, value in (one or {}).items()]


def first_value(headers: Iterable[tuple[str, str]], name: str) -> str:
    """Return the first value of a header, or nothing."""
    return next((value for each, value in headers if each == name), "")


def port_of(headers: Iterable[tuple[str, str]]) -> int:
    """Return the port that the client addressed, by `x-forwarded-port`."""
    port = first_value(headers, "x-forwarded-port")
    return int(port) if port.isascii() and port.isdecimal() else _DEFAULT_PORT


def scheme_of(headers: Iterable[tuple[str, str]]) -> str:
    """Return the scheme that the client used, by `x-forwarded-proto`, which the service sets."""
    scheme = first_value(headers, "x-forwarded-proto").lower()
    return scheme if scheme in {"http", "https"} else "https"


def version_of(protocol: str | None) -> str:
    """Return the HTTP version of `HTTP/1.1` as ASGI names it."""
    version = (protocol or "").partition("/")[2]
    return {"1.0": "1.0", "2.0": "2", "2": "2"}.get(version, "1.1")


def encoded_path(path: str) -> str:
    """Return a path with what no path may hold percent-encoded; escapes are kept."""
    return quote(path if path.startswith("/") else f"/{path}", safe=_PATH_CHARACTERS)


def decoded_body(body: str | None, *, is_base64: bool) -> bytes:
    """Return the bytes of a body.

    Raises:
        UnsupportedEvent: it is said to be base64 and is not, or holds a character that no request can hold.
    """
    try:
        return base64.b64decode(body or "", validate=True) if is_base64 else (body or "").encode()
    except (binascii.Error, ValueError) as error:
        raise UnsupportedEvent(f"The event's body cannot be decoded: {error}") from error
