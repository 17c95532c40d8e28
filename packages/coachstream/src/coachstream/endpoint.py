"""Where services are called, over https or over http on this machine; and from where pages may call."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def normalized_origin(text: str) -> str:
    """The origin that a browser sends (RFC 6454, section 6.2), of what a person writes for it.

    Lower case, a host name in its ASCII form, no default port, no slash at the end.

    Raises:
        ValueError: it is no origin; the message says why, and how one looks.
    """
    try:
        parts = urlsplit(text.strip())
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
        host = f"[{ip_address(host).compressed}]" if ":" in host else host.encode("idna").decode()
    except ValueError:  # also a port that is no number, and a name that has no ASCII form
        raise _no_origin(text, "") from None
    if scheme not in _DEFAULT_PORTS or not host:
        raise _no_origin(text, "")
    if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise _no_origin(text, " and nothing else")
    if "*" in host:
        raise _no_origin(text, "; browsers are not told patterns, so name each host")
    if not host.startswith("[") and not _HOST_NAME.fullmatch(host):
        raise _no_origin(text, "")
    return f"{scheme}://{host}" if port in {None, _DEFAULT_PORTS[scheme]} else f"{scheme}://{host}:{port}"


def _no_origin(text: str, remark: str) -> ValueError:
    return ValueError(
        f"{text!r} is no origin: that is scheme, host and port{remark}, such as https://app.example.com"
    )


def checked_endpoint(url: str) -> SplitResult:
    """Take a URL apart that secrets or keys may be sent to or read from.

    Raises:
        ValueError: it is not an absolute http(s) URL of a host alone or with a path; or it is plain http to
            another machine, where anybody on the way could read and change what is said.
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
        raise ValueError("a URL without user, query and fragment is needed")
    parts.port  # noqa: B018 (raises where it is no number)
    if parts.scheme == "http" and not is_this_machine(parts.hostname):
        raise ValueError("plain http is for this machine only; use https")
    return parts


def is_this_machine(host: str) -> bool:
    """Whether a host is a loopback address, or `localhost`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
