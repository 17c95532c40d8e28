"""The host names under which a local server may be addressed.

A page of another site reaches a loopback port by rebinding its own name to 127.0.0.1 (DNS rebinding), and its
requests carry that name. So the `Host` header must hold a name that no attacker controls: an IP address,
`localhost` and its subdomains (RFC 6761, section 6.3), and names given when the server was started.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

import msgspec

# RFC 3986, section 3.2, less what a Host header cannot have (user information) or no browser sends (zone
# identifiers, percent-encoding). Not urllib.parse, which ignores what stands around a pair of brackets, nor
# a split at the colon, which takes `localhost:evil.example` for localhost.
_AUTHORITY = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[\w-]+(?:\.[\w-]+)*))(?::(?P<port>[0-9]{0,5}))?", re.ASCII
)
_ORIGIN = re.compile(r"https?://(?P<authority>[^/?#]+)")

MAX_PORT: Final = 65_535

LOCAL_NAMES: Final = ("localhost", ".localhost")
"""Browsers and resolvers never send these off the machine; a leading dot includes all subdomains."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Authority(msgspec.Struct, frozen=True):
    """A host, lower-case if it is a name, and a port if there is one."""

    host: str | IpAddress
    port: int | None = None


def parse_authority(text: str) -> Authority | None:
    """Return the authority in a `Host` header; None unless all of it is `host` or `host:port`."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    port = int(match["port"]) if match["port"] else None
    if port is not None and port > MAX_PORT:
        return None
    if match["ipv6"] is None:
        return Authority(_ipv4_or_name(match["name"].lower()), port)
    try:
        return Authority(ipaddress.IPv6Address(match["ipv6"]), port)
    except ValueError:
        return None


def parse_origin(text: str) -> Authority | None:
    """Return the host and port of an `Origin` header; None for `null` and anything but a web origin."""
    match = _ORIGIN.fullmatch(text)
    return None if match is None else parse_authority(match["authority"])


class AllowedHosts(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts that a `Host` header may name. Any port is allowed: ports are forwarded, names are not.

    Attributes:
        names: lower-case host names; one with a leading dot includes all its subdomains.
        any_address: whether every IP address is allowed, or only those of loopback.
    """

    names: frozenset[str]
    any_address: bool

    @classmethod
    def of(cls, bound_address: str, names: Iterable[str] = ()) -> AllowedHosts:
        """Allow `localhost`, some names, and the addresses that lead to a socket.

        Args:
            bound_address: the IP address that the socket listens on.
            names: further host names.
        """
        return cls(
            names=frozenset(name.lower() for name in (*LOCAL_NAMES, *names)),
            any_address=not ipaddress.ip_address(bound_address).is_loopback,
        )

    def allow(self, host: str) -> bool:
        """Whether a request with this `Host` header is meant for this server."""
        authority = parse_authority(host)
        if authority is None:
            return False
        name = str(authority.host)
        if name in self.names:
            return True
        if not isinstance(authority.host, str):
            return self.any_address or _is_loopback(authority.host)
        return any(name.endswith(parent) for parent in self.names if parent.startswith("."))


def _is_loopback(address: IpAddress) -> bool:
    # Python before 3.13 does not count ::ffff:127.0.0.1 as loopback, later ones do.
    return address.is_loopback and not (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped)


def _ipv4_or_name(text: str) -> str | IpAddress:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return text
