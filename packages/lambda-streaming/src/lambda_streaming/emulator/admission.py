"""Which requests a Runtime API port takes, before anything looks at what they ask.

The port answers with events, which hold the users' tokens and texts, so only the environment's own processes
may use it, and of what they send only what a runtime or an extension sends.
"""

from __future__ import annotations

from typing import Final

import h11

from lambda_streaming.emulator.authority import parse_authority
from lambda_streaming.emulator.runtime_api import Headers, RuntimeApiError

MAX_CONNECTIONS: Final = 64
"""Of one environment, those included that are still being checked."""


class ForeignRequest(RuntimeApiError):
    """Raised for a request that does not come from a runtime or an extension of this environment."""

    status = 403
    error_type = "ForeignRequest"

    def __init__(self, reason: str) -> None:
        super().__init__(f"This port serves the processes of one execution environment only: {reason}")


class AmbiguousRequest(RuntimeApiError):
    """Raised for a request whose end two servers could see in two places."""

    status = 400
    error_type = "AmbiguousRequest"

    def __init__(self) -> None:
        super().__init__("A request has either a Content-Length or, in HTTP/1.1, a Transfer-Encoding")


class AlreadyReceiving(RuntimeApiError):
    """Raised for `next` while another connection waits for the event, or has been given it."""

    status = 403
    error_type = "InvalidStateTransition"

    def __init__(self) -> None:
        super().__init__("Another connection of this environment receives the events")


def check_source(headers: Headers, address: tuple[str, int]) -> None:
    """Refuse what a web page sends, also one that a browser inside of the environment shows.

    Args:
        headers: of the request.
        address: IP address and port, as in AWS_LAMBDA_RUNTIME_API. Every client derives its `Host` from it.

    Raises:
        ForeignRequest: another `Host`, or a header that only browsers send.
    """
    authority = parse_authority(headers.first("host") or "")
    if authority is None or str(authority.host) != address[0] or authority.port not in (None, address[1]):
        raise ForeignRequest("the Host header names another one")
    if any(name == "origin" or name.startswith("sec-fetch-") for name in headers.names()):
        raise ForeignRequest("a web page has no business here")


def check_framing(request: h11.Request, headers: Headers) -> None:
    """Refuse a request whose end is ambiguous; the connection must not be used any more.

    Raises:
        AmbiguousRequest: it has an encoding and a length, or a version without encodings (RFC 9112, 6.1).
    """
    if "transfer-encoding" in headers.names() and (
        "content-length" in headers.names() or request.http_version < b"1.1"
    ):
        raise AmbiguousRequest
