"""CORS as in Function URLs: the URL's configuration handles preflights and adds headers to every response.

Source: Lambda developer guide, "Creating and managing Lambda function URLs" (cross-origin resource sharing),
and the API type `Cors`. Choices where those are silent are in `policy`.
"""

from __future__ import annotations

import re
from typing import ClassVar

import msgspec

from lambda_streaming.function_url.http_to_event import HttpRequest
from lambda_streaming.function_url.response import HeaderLine

MAX_AGE_LIMIT_S = 86_400
"""How long a browser may be told to remember a preflight: Lambda API reference, `Cors`."""

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#,*]+", re.IGNORECASE)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class InvalidCorsConfiguration(ValueError):
    """Raised for a configuration that the Lambda API would reject."""


class CorsConfiguration(
    msgspec.Struct, frozen=True, kw_only=True, rename="pascal", forbid_unknown_fields=True
):
    """The CORS configuration of a Function URL, validated on construction.

    Decodes from the format of AWS's tools: `{"AllowOrigins": ["https://example.com"], "MaxAge": 300}`.

    Attributes:
        allow_origins: `scheme://host[:port]` or `*`; at most 100, of up to 253 characters each.
        allow_methods: at most 6, of up to 6 characters each, which excludes `OPTIONS`; or `*`.
        allow_headers: at most 100 names, of up to 1,024 characters each; or `*`.
        expose_headers: as `allow_headers`.
        max_age: seconds that a browser may cache a preflight response, 0 to 86,400.
        allow_credentials: whether requests may carry cookies and other credentials.

    Raises:
        InvalidCorsConfiguration: a value is out of range (inside `msgspec.ValidationError` when decoding).
    """

    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: int = 0
    allow_credentials: bool = False

    METHODS: ClassVar[frozenset[str]] = frozenset({"GET", "PUT", "HEAD", "POST", "PATCH", "DELETE", "*"})

    def __post_init__(self) -> None:
        """Reject what `CreateFunctionUrlConfig` would reject."""
        _check_items("AllowOrigins", self.allow_origins, max_items=100, max_length=253)
        _check_items("AllowMethods", self.allow_methods, max_items=6, max_length=6)
        _check_items("AllowHeaders", self.allow_headers, max_items=100, max_length=1024)
        _check_items("ExposeHeaders", self.expose_headers, max_items=100, max_length=1024)
        for origin in self.allow_origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise InvalidCorsConfiguration(
                    f"AllowOrigins: {origin!r} is neither `*` nor scheme://host[:port] without a path"
                )
        for method in self.allow_methods:
            if method not in self.METHODS:
                raise InvalidCorsConfiguration(
                    f"AllowMethods: {method!r} is not one of {', '.join(sorted(self.METHODS))}"
                )
        for name in (*self.allow_headers, *self.expose_headers):
            if not _TOKEN.fullmatch(name):
                raise InvalidCorsConfiguration(f"{name!r} is not a header name")
        if not 0 <= self.max_age <= MAX_AGE_LIMIT_S:
            raise InvalidCorsConfiguration(f"MaxAge: {self.max_age} is not between 0 and 86400 seconds")

    def headers_for(self, origin: str | None) -> tuple[HeaderLine, ...]:
        """Return the headers that the URL adds to a response to a request from `origin`."""
        any_origin = "*" in self.allow_origins
        if any_origin and not (self.allow_credentials and origin):
            # Browsers reject `*` together with credentials, so the origin is echoed in that case.
            allowed, varies = "*", self.allow_credentials
        elif origin is not None and (any_origin or origin in self.allow_origins):
            allowed, varies = origin, True
        else:
            return (("vary", "Origin"),)
        lines = [("access-control-allow-origin", allowed)]
        if varies:
            lines.append(("vary", "Origin"))
        for name, values in (
            ("access-control-allow-methods", self.allow_methods),
            ("access-control-allow-headers", self.allow_headers),
            ("access-control-expose-headers", self.expose_headers),
        ):
            if values:
                lines.append((name, ",".join(values)))
        if self.max_age:
            lines.append(("access-control-max-age", str(self.max_age)))
        if self.allow_credentials:
            lines.append(("access-control-allow-credentials", "true"))
        return tuple(lines)


def is_preflight(request: HttpRequest) -> bool:
    """Return whether this is a CORS preflight request (Fetch standard)."""
    return (
        request.method == "OPTIONS"
        and request.header("origin") is not None
        and request.header("access-control-request-method") is not None
    )


def _check_items(property_name: str, items: tuple[str, ...], *, max_items: int, max_length: int) -> None:
    if len(items) > max_items:
        raise InvalidCorsConfiguration(
            f"{property_name}: {len(items)} items, at most {max_items} are allowed"
        )
    for item in items:
        if not 1 <= len(item) <= max_length:
            raise InvalidCorsConfiguration(
                f"{property_name}: {item!r} has {len(item)} characters, 1 to {max_length} are allowed"
            )
