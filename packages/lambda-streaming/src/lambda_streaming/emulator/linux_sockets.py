"""The owner of a TCP socket on Linux: its user, and its inode, to which /proc/PID/fd of its process links.

Over netlink, the kernel looks up one connection in microseconds (sock_diag(7), `struct inet_diag_req_v2`).
Kernels without netlink, and sandboxes that emulate one, have the tables /proc/net/tcp and tcp6; reading those
takes tens of milliseconds on a large machine, because the kernel walks its whole hash table.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import sys
from pathlib import Path
from typing import Final

import msgspec

Address = tuple[str, int]

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_ANY: Final = 0xFFFF_FFFF  # all states; also stands for "no cookie"

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_REQUEST: Final = struct.Struct("=BBBxI")  # family, protocol, extensions, states
_PORTS: Final = struct.Struct(">HH")
_REST_OF_ID: Final = struct.Struct("=III")  # interface, cookie
_REPLY: Final = struct.Struct("=BBxx4s44xIIIII")  # family, state, ports, expires, queues, user, inode

_ATTEMPTS: Final = 3
"""A table is read in pages, and a read may miss a line while other sockets open and close."""


class LinuxSocket(msgspec.Struct, frozen=True):
    """A socket that a process holds."""

    user_id: int
    inode: int


def find_socket(local: Address, remote: Address) -> LinuxSocket | None:
    """Return the socket at the local end of a connection; None if no process holds it any more.

    The other end must be open and in this process: finding it proves that the netlink lookup works here.
    """
    with contextlib.suppress(OSError):
        found = _ask_kernel(local, remote)
        if found is not None or _ask_kernel(remote, local) is not None:
            return found
    return find_in_tables(local, remote)


def _ask_kernel(local: Address, remote: Address) -> LinuxSocket | None:
    ips = [ipaddress.ip_address(address[0]) for address in (local, remote)]
    family = socket.AF_INET if ips[0].version == 4 else socket.AF_INET6  # noqa: PLR2004
    ports = _PORTS.pack(local[1], remote[1])
    request = b"".join(
        (
            _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ANY),
            ports,
            *(ip.packed.ljust(16, b"\0") for ip in ips),
            _REST_OF_ID.pack(0, _ANY, _ANY),
        )
    )
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(1)
        kernel.send(header + request)
        reply = kernel.recv(65_536)
    if _HEADER.unpack_from(reply)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    _, _, found_ports, *_, user_id, inode = _REPLY.unpack_from(reply, _HEADER.size)
    # Without such a connection, the kernel names a socket that listens on the local port.
    return LinuxSocket(user_id, inode) if found_ports == ports and inode else None


def find_in_tables(local: Address, remote: Address) -> LinuxSocket | None:
    """Return the socket at the local end of a connection, looked up in /proc/net."""
    for _ in range(_ATTEMPTS):
        for table, mapped in (("tcp", False), ("tcp6", True)):
            pair = f" {_in_table(local, mapped=mapped)} {_in_table(remote, mapped=mapped)} "
            with contextlib.suppress(OSError):
                _, found, rest = Path("/proc/net", table).read_text("ascii").partition(pair)
                if found:
                    _state, _queues, _timer, _resent, user_id, _timeout, inode = rest.split(maxsplit=7)[:7]
                    return LinuxSocket(int(user_id), int(inode)) if inode != "0" else None
    return None


def _in_table(address: Address, *, mapped: bool) -> str:
    """Format an address as the tables do: words in the machine's byte order, in hexadecimal.

    Args:
        address: to write.
        mapped: whether an IPv4 address is written as `::ffff:a.b.c.d`, as Java and others connect.
    """
    ip = ipaddress.ip_address(address[0])
    packed = ip.packed if ip.version == 6 or not mapped else b"\0" * 10 + b"\xff\xff" + ip.packed  # noqa: PLR2004
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{address[1]:04X}"
