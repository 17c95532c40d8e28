"""Which requests a Runtime API port accepts, checked before their method and path.

The port serves events, which hold users' tokens and texts. So only the environment's own processes may use
it, and only with requests that a runtime or an extension sends.
"""

from __future__ import annotations

from typing import Final

import h11

from lambda_streaming.emulator.authority import parse_authority
from lambda_streaming.emulator.runtime_api import Headers, RuntimeApiError

MAX_CONNECTIONS: Final = 64
"""Per environment, including connections whose peer is still being checked; more with each invocation that it
may run at once."""


class ForeignRequest(RuntimeApiError):
    """Raised for a request that does not come from a runtime or an extension of this environment."""

    status = 403
    error_type = "ForeignRequest"

    def __init__(self, reason: str) -> None:
        super().__init__(f"This port serves the processes of one execution environment only: {reason}")


class AmbiguousRequest(RuntimeApiError):
    """Raised for a request whose end two servers could place differently (request smuggling)."""

    status = 400
    error_type = "AmbiguousRequest"

    def __init__(self) -> None:
        super().__init__("A request has either a Content-Length or, in HTTP/1.1, a Transfer-Encoding")


class AlreadyReceiving(RuntimeApiError):
    """Raised for `next` while another connection waits for the event or has received it."""

    status = 403
    error_type = "InvalidStateTransition"

    def __init__(self) -> None:
        super().__init__("Another connection of this environment receives the events")


class TooManyReceivers(RuntimeApiError):
    """Raised for `next` when as many are waiting or running as there may be invocations at once."""

    status = 403
    error_type = "TooManyIdleRuntimes"

    def __init__(self, most: int) -> None:
        super().__init__(f"This environment runs at most {most} invocations at once")


def check_source(headers: Headers, address: tuple[str, int]) -> None:
    """Refuse requests from a web page, even one open in a browser inside the environment.

    Args:
        headers: the request's.
        address: IP address and port, as in AWS_LAMBDA_RUNTIME_API. Every client derives its `Host` from it.

    Raises:
        ForeignRequest: the `Host` is another one, or a header is one that only browsers send.
    """
    authority = parse_authority(headers.first("host") or "")
    if authority is None or str(authority.host) != address[0] or authority.port not in (None, address[1]):
        raise ForeignRequest("the Host header names another server")
    if any(name == "origin" or name.startswith("sec-fetch-") for name in headers.names()):
        raise ForeignRequest("web pages are not allowed")


def check_framing(request: h11.Request, headers: Headers) -> None:
    """Refuse a request whose end is ambiguous; the connection must not be used afterwards.

    Raises:
        AmbiguousRequest: it has both an encoding and a length, or an encoding in HTTP/1.0 (RFC 9112, 6.1).
    """
    if "transfer-encoding" in headers.names() and (
        "content-length" in headers.names() or request.http_version < b"1.1"
    ):
        raise AmbiguousRequest
