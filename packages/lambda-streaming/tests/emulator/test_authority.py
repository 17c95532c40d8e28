"""Which `Host` headers name this machine."""

from __future__ import annotations

import ipaddress
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_streaming.emulator.authority import AllowedHosts, Authority, parse_authority, parse_origin

LOOPBACK = AllowedHosts.of("127.0.0.1", ["laptop.lan", ".tunnel.example"])
EVERYWHERE = AllowedHosts.of("::", ["laptop.lan"])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "localhost:",
        "chat.localhost:1",
        "127.0.0.1",
        "127.0.0.1:65535",
        "127.9.9.9:8000",
        "[::1]",
        "[::1]:8000",
        "[0:0:0:0:0:0:0:1]:8000",
        "Laptop.LAN:8000",
        "a.b.tunnel.example",
    ],
)
def test_names_that_no_stranger_controls_are_allowed(host: str) -> None:
    """Loopback addresses, localhost and its subdomains, and explicitly allowed names match on any port."""
    assert LOOPBACK.allow(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":8000",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil-localhost",
        "evillocalhost:8000",
        "evil.laptop.lan",
        "tunnel.example",
        "localhost:evil.example",
        "localhost:8000:80",
        "localhost:65536",
        "localhost:-1",
        "localhost:+80",
        "localhost:\uff18\uff10",
        "localhost.",
        ".localhost",
        "a..localhost",
        "[localhost",
        "localhost]",
        "[localhost]",
        "[",
        "[]",
        "[::1",
        "::1",
        "::1:8000",
        "[::1]evil.example",
        "[::1]evil.example:80",
        "evil.example[::1]",
        "[::1%25lo]",
        "[fe80::1%lo]",
        "[127.0.0.1]",
        "[v1.localhost]",
        "evil@localhost",
        "localhost@evil.example",
        "127.0.0.1@evil.example",
        "localhost/evil",
        "localhost?evil",
        "localhost#evil",
        "localhost\\evil",
        "localhost evil",
        " localhost",
        "localhost ",
        "local\thost",
        "localhost, evil.example",
        "local%68ost",
        "ⓛocalhost",
        "127.1",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "2130706433",
        "0.0.0.0:8000",
        "[::]",
        "[::ffff:192.168.1.5]",
        "[::ffff:127.0.0.1]",
        "192.168.1.5:8000",
        "[2001:db8::1]",
    ],
)
def test_every_other_host_is_refused(host: str) -> None:
    """Names that an attacker can point at this machine, and anything that is not `host:port`, are refused."""
    assert not LOOPBACK.allow(host)


def test_a_server_that_is_open_to_the_network_is_addressed_by_any_address() -> None:
    """DNS rebinding does not apply to addresses; names still have to be allowed individually."""
    for host in ("192.168.1.5:8000", "[2001:db8::1]", "localhost:8000", "laptop.lan"):
        assert EVERYWHERE.allow(host)
    assert not EVERYWHERE.allow("evil.example")


def test_an_address_may_be_allowed_like_a_name() -> None:
    """A proxy on another machine may forward requests under its own address."""
    assert AllowedHosts.of("::1", ["192.168.1.5"]).allow("192.168.1.5:80")


NAMES = st.from_regex(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", fullmatch=True, alphabet=string.printable)
PORTS = st.one_of(st.none(), st.integers(0, 65_535))
HOSTS = st.one_of(NAMES, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"))


@given(host=HOSTS, port=PORTS)
def test_a_formatted_authority_parses_back_to_its_host_and_port(host: str, port: int | None) -> None:
    """The round trip holds for every RFC 3986 host and port that a `Host` header may contain."""
    parsed = parse_authority(host if port is None else f"{host}:{port}")
    assert parsed is not None
    assert parsed.port == port
    assert str(parsed.host) == host.strip("[]").lower()


@given(
    st.text(st.sampled_from("localhst127.0.:[]@/%#?\\ \t\r\n,évi_-x"), max_size=24)
    | st.text()
    | st.builds("{}{}{}".format, st.text(max_size=3), HOSTS, st.text(max_size=6))
)
def test_only_loopback_addresses_and_allowed_names_are_allowed(text: str) -> None:
    """Any text before or after an allowed name makes it a different name."""
    if not LOOPBACK.allow(text):
        return
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        host, port = text, ""
    assert port == "" or (port.isascii() and port.isdigit() and int(port) <= 65_535)
    try:
        assert ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        name = host.lower()
        assert set(name) <= set(string.ascii_lowercase + string.digits + "._-")
        assert name in {"localhost", "laptop.lan"} or name.endswith((".localhost", ".tunnel.example"))


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        ("http://localhost:8000", Authority("localhost", 8000)),
        ("https://Chat.localhost", Authority("chat.localhost")),
        ("http://[::1]:80", Authority(ipaddress.IPv6Address("::1"), 80)),
        ("null", None),
        ("", None),
        ("file://", None),
        ("chrome-extension://abc", None),
        ("http://localhost:8000/", None),
        ("http://localhost:8000, http://evil.example", None),
        ("http://evil@localhost", None),
    ],
)
def test_an_origin_is_a_scheme_of_the_web_a_host_and_a_port(origin: str, authority: Authority | None) -> None:
    """Anything else has no authority and matches no host."""
    assert parse_origin(origin) == authority
