"""Where services are called: over https, or over http on this machine."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit


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
