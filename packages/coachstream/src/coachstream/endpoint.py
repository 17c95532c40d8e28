"""Validates the URLs of services, https or http on this machine, and the origins of pages."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def normalized_origin(text: str) -> str:
    """Normalize an origin to the form that a browser sends (RFC 6454, section 6.2).

    Lower case, the host name in ASCII form, no default port, no trailing slash.

    Raises:
        ValueError: it is not an origin; the message has the reason and an example.
    """
    try:
        parts = urlsplit(text.strip())
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
        host = f"[{ip_address(host).compressed}]" if ":" in host else host.encode("idna").decode()
    except ValueError:  # includes a port that is not a number, and a name without an ASCII form
        raise _no_origin(text, "") from None
    if scheme not in _DEFAULT_PORTS or not host:
        raise _no_origin(text, "")
    if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise _no_origin(text, " and nothing else")
    if "*" in host:
        raise _no_origin(text, "; patterns are not possible, so name each host")
    if not host.startswith("[") and not _HOST_NAME.fullmatch(host):
        raise _no_origin(text, "")
    return f"{scheme}://{host}" if port in {None, _DEFAULT_PORTS[scheme]} else f"{scheme}://{host}:{port}"


def _no_origin(text: str, remark: str) -> ValueError:
    return ValueError(
        f"{text!r} is not an origin: that is scheme, host and port{remark}, such as https://app.example.com"
    )


def checked_endpoint(url: str) -> SplitResult:
    """Parse and validate a URL to which secrets may be sent, or from which keys are read.

    Raises:
        ValueError: it is not an absolute http(s) URL with a host and at most a path; or it is plain http to
            another machine, where anyone on the network could read and change the traffic.
    """
    parts = urlsplit(url)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or not url.isascii()
        or not url.isprintable()
    ):
        raise ValueError("not a URL like https://example.com")
    if "@" in parts.netloc or parts.query or parts.fragment or " " in url:
        raise ValueError("the URL must not have a user, query or fragment")
    parts.port  # noqa: B018 (raises if it is not a number)
    if parts.scheme == "http" and not is_this_machine(parts.hostname):
        raise ValueError("plain http is allowed for this machine only; use https")
    return parts


def is_this_machine(host: str) -> bool:
    """Whether a host is a loopback address or `localhost`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
