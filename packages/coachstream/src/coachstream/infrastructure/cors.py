"""Which pages may call a Function URL from a browser.

The URL itself handles preflights and adds the headers; a function must not add them as well, because browsers
reject duplicate CORS headers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_

from coachstream.infrastructure.deploy_options import MAX_ORIGINS
from coachstream.infrastructure.options import ANY_ORIGIN
from coachstream.web.cross_origin import REQUEST_HEADERS, RESPONSE_HEADERS
from lambda_streaming.function_url.cors import MAX_AGE_LIMIT_S

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """The allowed origins, such as `https://app.example.com`; there is no default.

    Attributes:
        origins: scheme, host and port, as browsers send them: without a path or trailing slash.
        allow_any_origin: allows `*` as an origin. Tokens are still required, but any page may send requests.
        max_age_s: how long a browser may cache a preflight response.

    Raises:
        ValueError: there is no origin, one is invalid, or `*` is not allowed.
    """

    origins: tuple[str, ...]
    allow_any_origin: bool = False
    max_age_s: int = MAX_AGE_LIMIT_S

    def __post_init__(self) -> None:
        """Reject what Lambda would reject, and an accidental `*`."""
        if not 0 < len(self.origins) <= MAX_ORIGINS:
            raise ValueError(
                f"name the origins that may call the functions, 1 to {MAX_ORIGINS}, such as https://app.example.com"
            )
        if not 0 <= self.max_age_s <= MAX_AGE_LIMIT_S:
            raise ValueError(f"max_age_s must be from 0 to {MAX_AGE_LIMIT_S}")
        for origin in self.origins:
            if origin == ANY_ORIGIN:
                if not self.allow_any_origin:
                    raise ValueError(
                        "the origin * allows every page on the web; name origins, or set allow_any_origin"
                    )
            elif not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin, such as https://app.example.com")

    def options(self, methods: Sequence[lambda_.HttpMethod]) -> lambda_.FunctionUrlCorsOptions:
        """Return the URL's configuration for these methods. Lambda handles OPTIONS by itself."""
        return lambda_.FunctionUrlCorsOptions(
            allowed_origins=list(self.origins),
            allowed_methods=list(methods),
            allowed_headers=list(REQUEST_HEADERS),
            exposed_headers=list(RESPONSE_HEADERS),
            max_age=Duration.seconds(self.max_age_s),
        )
