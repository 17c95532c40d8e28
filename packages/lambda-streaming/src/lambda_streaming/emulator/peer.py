"""Which process is at the other end of a loopback connection.

A TCP port is open to every process of the machine, and TCP has no peer credentials (SO_PEERCRED and
LOCAL_PEERCRED exist for Unix sockets only). The kernel knows which process holds each socket, though:

- Linux reports the user and the inode of any TCP socket (see `linux_sockets`), and the processes that hold
  the inode have a link to it in /proc/PID/fd. The user is visible for all sockets, the links only for
  processes of the same user.
- macOS lists a process's sockets to that process's user (libproc, which psutil reads).

A peer that cannot be identified is not trusted: another platform, another PID namespace, an exited process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import psutil

from lambda_streaming.emulator.linux_sockets import Address, find_socket


class Ends(msgspec.Struct, frozen=True):
    """Both ends of a TCP connection on this machine, each an IP address and a port."""

    client: Address
    server: Address


PeerCheck = Callable[[Ends], Awaitable[bool]]
"""Whether the client of a connection may be served."""


def is_held_by_group(ends: Ends, group_id: int) -> bool:
    """Whether the client is in a process group, or descends from a member of it. Blocks for milliseconds.

    A process that left both the group and the process tree (a daemon that double-forked into a session of its
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
        # Does not read /proc/PID, which even the process's own user may not be allowed to: sshd forbids it.
        held = find_socket(ends.client, ends.server)
        return held is not None and held.user_id == user_id
    holds = _find_holder(ends)
    if holds is None:
        return False
    own = (
        process.pid
        for process in psutil.process_iter(["uids"])
        if process.info["uids"] is not None and process.info["uids"].effective == user_id
    )
    return any(map(holds, own))


async def is_held_by_own_user(ends: Ends) -> bool:
    """Whether the client runs as the user of this process: a `PeerCheck`."""
    return await asyncio.to_thread(is_held_by_user, ends, os.geteuid())


def _find_holder(ends: Ends) -> Callable[[int], bool] | None:
    """Return a predicate: does this process hold the client's end? None if no process can."""
    if not psutil.LINUX:
        return lambda process_id: _has_connection(process_id, ends)
    held = find_socket(ends.client, ends.server)
    return None if held is None else lambda process_id: _has_inode(process_id, held.inode)


# --- Linux ---


def _has_inode(process_id: int, inode: int) -> bool:
    link = Path(f"socket:[{inode}]")
    try:
        with os.scandir(f"/proc/{process_id}/fd") as descriptors:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):  # closed meanwhile
                    if Path(descriptor.path).readlink() == link:
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


_IPV6_LOOPBACK = ipaddress.IPv6Address("::1")


def _plain(address: Address | tuple[()]) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int] | None:
    """Return an address with IPv4-in-IPv6 forms converted to IPv4; None for a socket without an address."""
    if not address:
        return None
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    # Not `is_loopback`, which holds for ::ffff:127.0.0.1, too, from Python 3.13 on.
    if isinstance(ip, ipaddress.IPv6Address) and ip != _IPV6_LOOPBACK:
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
