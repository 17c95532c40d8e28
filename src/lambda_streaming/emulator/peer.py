"""Whose process is at the other end of a loopback connection.

A TCP port is open to every process of the machine, and TCP has no peer credentials (SO_PEERCRED and
LOCAL_PEERCRED exist for Unix sockets only). The kernel knows who holds each socket, though:

- Linux lists the owner and the inode of every TCP socket in /proc/net/tcp and tcp6; the processes that hold
  the inode link to it in /proc/PID/fd. The owner is readable for all processes, the links for one's own.
- macOS lists the sockets of a process to that process's user (libproc, which psutil reads).

What cannot be read is not trusted: another platform, another PID namespace, a process that has ended.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import psutil

Address = tuple[str, int]

_ATTEMPTS: Final = 3
"""The kernel's table is read in pages, and may skip a line while other sockets come and go."""


class Ends(msgspec.Struct, frozen=True):
    """Both ends of a TCP connection on this machine, each an IP address and a port."""

    client: Address
    server: Address


PeerCheck = Callable[[Ends], Awaitable[bool]]
"""Whether the client of a connection may be served."""


def is_held_by_group(ends: Ends, group_id: int) -> bool:
    """Whether the client is in a process group, or descends from a member of it. Blocks for milliseconds.

    A process that left both the group and the family (a daemon that forked twice and made a session of its
    own) is not found, as it is not frozen or killed with the group either.
    """
    holds = _find_holder(ends)
    if holds is None:
        return False
    members = [process_id for process_id in psutil.pids() if _group_of(process_id) == group_id]
    return any(map(holds, members)) or any(map(holds, _descendants(members)))


def is_held_by_user(ends: Ends, user_id: int) -> bool:
    """Whether the client runs as a user. Blocks for milliseconds."""
    if psutil.LINUX:
        # Needs no look into the process, which even its own user may not have: sshd forbids it.
        return any(socket.user_id == user_id for socket in _linux_sockets(ends))
    holds = _find_holder(ends)
    if holds is None:
        return False
    own = (
        process.pid
        for process in psutil.process_iter(["uids"])
        if process.info["uids"] is not None and process.info["uids"].effective == user_id
    )
    return any(map(holds, own))


def _find_holder(ends: Ends) -> Callable[[int], bool] | None:
    """Return whether a process holds the client's end, as a function; None if no process can."""
    if not psutil.LINUX:
        return lambda process_id: _has_connection(process_id, ends)
    inodes = {socket.inode for socket in _linux_sockets(ends)}
    return (lambda process_id: _has_inode(process_id, inodes)) if inodes else None


# --- Linux ---


class _LinuxSocket(msgspec.Struct, frozen=True):
    user_id: int
    inode: str


def _linux_sockets(ends: Ends) -> list[_LinuxSocket]:
    """Return the client's socket, if a process holds it: one entry or none."""
    for _ in range(_ATTEMPTS):
        for table, mapped in (("tcp", False), ("tcp6", True)):
            with contextlib.suppress(OSError):
                found = _find_line(Path("/proc/net", table).read_text("ascii"), ends, mapped=mapped)
                if found is not None:
                    return [found]
    return []


def _find_line(table: str, ends: Ends, *, mapped: bool) -> _LinuxSocket | None:
    """Find a connection in the text of /proc/net/tcp or tcp6.

    Args:
        table: the text.
        ends: of the connection.
        mapped: whether IPv4 addresses stand as `::ffff:a.b.c.d`, as Java and others connect.
    """
    pair = f" {_in_table(ends.client, mapped=mapped)} {_in_table(ends.server, mapped=mapped)} "
    _, found, rest = table.partition(pair)
    if not found:
        return None
    _state, _queues, _timer, _retransmits, user_id, _timeout, inode = rest.split(maxsplit=7)[:7]
    # A socket that its process has closed has no inode any more.
    return _LinuxSocket(int(user_id), inode) if inode != "0" else None


def _in_table(address: Address, *, mapped: bool) -> str:
    """Write an address as the table does: words in the machine's byte order, in hexadecimal."""
    ip = ipaddress.ip_address(address[0])
    packed = ip.packed if ip.version == 6 or not mapped else b"\0" * 10 + b"\xff\xff" + ip.packed  # noqa: PLR2004
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{address[1]:04X}"


def _has_inode(process_id: int, inodes: set[str]) -> bool:
    links = {f"socket:[{inode}]" for inode in inodes}
    try:
        with os.scandir(f"/proc/{process_id}/fd") as descriptors:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):  # closed meanwhile
                    if str(Path(descriptor.path).readlink()) in links:
                        return True
    except OSError:
        return False
    return False


# --- macOS ---


def _has_connection(process_id: int, ends: Ends) -> bool:
    try:
        connections = psutil.Process(process_id).net_connections("tcp")
    except psutil.Error:
        return False
    ours = _plain(ends.client), _plain(ends.server)
    return any((_plain(each.laddr), _plain(each.raddr)) == ours for each in connections)


def _plain(address: Address | tuple[()]) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int] | None:
    """Return an address without the ways in which IPv4 is written as IPv6; None of a socket without one."""
    if not address:
        return None
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and not ip.is_loopback:
        # libproc pads an IPv4 address with zeros, where ::ffff: is the rule.
        embedded = ip.packed[12:] if ip.packed[:12] == b"\0" * 12 else None
        ip = ip.ipv4_mapped or (ipaddress.IPv4Address(embedded) if embedded else ip)
    return ip, address[1]


# --- processes ---


def _group_of(process_id: int) -> int | None:
    try:
        return os.getpgid(process_id)
    except OSError:
        return None


def _descendants(process_ids: list[int]) -> Iterator[int]:
    for process_id in process_ids:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(process_id).children(recursive=True):
                yield child.pid
