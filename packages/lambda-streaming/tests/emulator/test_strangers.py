"""Processes outside an execution environment that find its Runtime API port on the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import shlex
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.invoker import gate
from lambda_streaming.emulator import ExecutionEnvironments, linux_sockets
from lambda_streaming.emulator import peer as peers
from lambda_streaming.emulator.admission import MAX_CONNECTIONS
from lambda_streaming.emulator.peer import Ends, is_held_by_group, is_held_by_user
from support.environments import SCRIPTED, answer, scripted, steps, text_of
from support.http_server import connected
from support.patience import PATIENCE_S
from support.places import TESTS

STRANGER = (sys.executable, "-ISE", str(TESTS / "support" / "stranger.py"))
TIMES = 10
NOBODY_UID = 65_534

#: Only root can switch to another user; for everyone else the second case repeats the first.
USERS = {"the-same-user": os.geteuid(), "another-user": NOBODY_UID if os.geteuid() == 0 else os.geteuid()}
REASON = "This port serves the processes of one execution environment only: this process is not one of them"
REFUSED = [403, f'{{"errorMessage":"{REASON}","errorType":"ForeignRequest"}}\n']


@pytest.fixture
async def pool() -> AsyncIterator[ExecutionEnvironments]:
    async with scripted() as environments:
        yield environments


async def answers_to_stranger(address: str, user_id: int, request_id: str = "none") -> list[object]:
    """The responses that a process in its own group and session receives."""
    process = await asyncio.create_subprocess_exec(
        *STRANGER,
        address,
        request_id,
        str(user_id),
        str(TIMES),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    output, _ = await process.communicate()
    answers: list[object] = json.loads(output)
    return answers


async def address_of(pool: ExecutionEnvironments) -> str:
    """Start an environment and ask it for the address of its Runtime API."""
    return await answer(pool, ["write-variable", "AWS_LAMBDA_RUNTIME_API"])


@pytest.mark.parametrize("user_id", USERS.values(), ids=USERS.keys())
async def test_a_stranger_steals_no_event_and_forges_no_response(
    pool: ExecutionEnvironments, user_id: int
) -> None:
    """It can do neither while the environment is idle nor during an invocation; the real response arrives."""
    address = await address_of(pool)
    assert await answers_to_stranger(address, user_id) == [REFUSED] * 2 * TIMES, "before any invocation"
    async with gate() as gate_:
        request = steps(["gate", gate_.port], ["write", "real"])
        response = asyncio.create_task(pool.invoke(request))
        await gate_.someone_waits()
        answers = await answers_to_stranger(address, user_id, request.request_id)
        assert answers == [REFUSED] * 2 * TIMES, "while the invocation runs"
        await gate_.open()
        assert await text_of(await response) == "real"


async def test_idle_connections_of_strangers_are_closed_and_do_not_block_the_runtime(
    pool: ExecutionEnvironments,
) -> None:
    """Even more connections than an environment may have do not exhaust it."""
    port = int((await address_of(pool)).rpartition(":")[2])
    async with contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connected(port)) for _ in range(MAX_CONNECTIONS + 10)]
        assert await answer(pool, ["write", "served"]) == "served"
        for connection in idle:
            await connection.read_to_end()


async def test_a_process_in_a_session_of_its_own_is_served_while_its_parents_live() -> None:
    """Shells, terminals and process runners put a runtime into another session or group."""
    command = ["sh", "-c", 'setsid "$@"; true', "sh", *SCRIPTED]
    async with ExecutionEnvironments(command, grace_s=1.0) as environments:
        assert await answer(environments, ["write", "served"]) == "served"


async def test_a_daemon_that_left_the_environment_is_a_stranger(tmp_path: Path) -> None:
    """A process that forked twice into its own session would not be frozen or killed with the environment."""
    stolen = tmp_path / "stolen"
    stranger = f"{shlex.join(STRANGER)} $AWS_LAMBDA_RUNTIME_API none {os.geteuid()} {TIMES}"
    script = f"{stranger} > {stolen}.tmp; mv {stolen}.tmp {stolen}"
    command = ["sh", "-c", f"(setsid sh -c {shlex.quote(script)} &); exec {shlex.join(SCRIPTED)}"]
    async with ExecutionEnvironments(command, grace_s=1.0, freeze=False) as environments:
        assert await answer(environments, ["write", "served"]) == "served"
        async with asyncio.timeout(PATIENCE_S):
            while not stolen.exists():  # noqa: ASYNC110 (nothing announces it)
                await asyncio.sleep(0.01)
    assert json.loads(stolen.read_text()) == [REFUSED] * 2 * TIMES


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")]
)
def test_the_process_behind_a_connection_is_found(family: socket.AddressFamily, host: str) -> None:
    """It is found however the client writes the address: Java connects to `::ffff:127.0.0.1`."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(family) as client:
        client.connect((host, server.getsockname()[1]))
        accepted, peer = server.accept()
        with accepted:
            ends = Ends(peer, accepted.getsockname())
            assert is_held_by_group(ends, os.getpgrp())
            assert is_held_by_user(ends, os.geteuid())
            assert not is_held_by_group(ends, 1)
            assert not is_held_by_user(ends, os.geteuid() + 1)
            assert not is_held_by_group(Ends(ends.server, ends.client), 1)
            # macOS can only list the sockets of one process at a time.
            assert peers._has_connection(os.getpid(), ends)
            assert not peers._has_connection(os.getppid(), ends)
            if sys.platform == "linux":
                held = linux_sockets.find_socket(ends.client, ends.server)
                assert held == linux_sockets.find_in_tables(ends.client, ends.server)
                assert held == linux_sockets.LinuxSocket(os.geteuid(), os.fstat(client.fileno()).st_ino)
            client.close()
            assert not is_held_by_group(ends, os.getpgrp()), "the socket is closed"


@pytest.mark.skipif("sys.platform != 'linux'", reason="asks Linux")
def test_a_socket_that_listens_on_the_clients_port_is_not_the_client() -> None:
    """Once the connection is closed, the kernel would report the listening socket instead."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        accepted, peer = server.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with accepted, socket.create_server(peer):
            assert linux_sockets.find_socket(peer, server.getsockname()) is None
            assert not is_held_by_group(Ends(peer, server.getsockname()), os.getpgrp())


@pytest.mark.parametrize("written", ["127.0.0.1", "::ffff:127.0.0.1", "::127.0.0.1"])
def test_an_ipv4_address_is_recognized_however_the_system_writes_it(written: str) -> None:
    """IPv6 sockets also carry IPv4, and libproc pads the address with zeros."""
    assert peers._plain((written, 80)) == (ipaddress.IPv4Address("127.0.0.1"), 80)
    assert peers._plain(("::1", 80)) == (ipaddress.IPv6Address("::1"), 80)
