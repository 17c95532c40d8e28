"""The signals that end the server, at each point of its lifecycle, tested in separate processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

from support.patience import PATIENCE_S

PROGRAM = """
import asyncio, contextlib, os, signal, sys
from coachstream.local.signals import Interrupts

SIGNAL = signal.Signals[sys.argv[1]]

def interrupted_at(point):
    for _ in range(sys.argv[2:].count(point)):
        signal.raise_signal(SIGNAL)

async def serve(interrupts):
    interrupts.watch()
    print("serving", flush=True)
    interrupted_at("serving")
    try:
        await interrupts.wait()
    finally:
        interrupted_at("ending")
        try:
            await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            print("ended", flush=True)

with Interrupts() as interrupts:
    interrupted_at("before")
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(serve(interrupts))
    interrupted_at("closed")
interrupted_at("after")
print("done", flush=True)
"""


def interrupt(number: signal.Signals, *points: str) -> subprocess.CompletedProcess[str]:
    """Run a server that gets the signal at these points of its lifecycle."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), number.name, *points],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
@pytest.mark.parametrize(
    "points",
    [
        ("before",),
        ("serving",),
        ("before", "serving"),
        ("before", "before"),
        ("serving", "serving"),
        ("serving", "ending"),
        ("serving", "closed"),
        ("serving", "after", "after", "after"),
        ("serving", "ending", "after"),
    ],
    ids=" ".join,
)
def test_one_or_two_signals_at_any_point_shut_down_gracefully(
    number: signal.Signals, points: tuple[str, ...]
) -> None:
    """Everything is closed, no stray exception is raised, and later signals change nothing."""
    ended = interrupt(number, *points)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split()[-2:] == ["ended", "done"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_third_signal_kills(number: signal.Signals) -> None:
    """The signal itself kills the process, without a traceback."""
    killed = interrupt(number, "serving", "ending", "ending", "ending")
    assert (killed.returncode, killed.stderr) == (-number, "")


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    """The server outlives its terminal, as the user requested."""
    nohup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    server = subprocess.Popen(
        [sys.executable, "-c", nohup + PROGRAM, "SIGTERM"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        assert server.stdout.readline() == "serving\n"
        server.send_signal(signal.SIGHUP)
        server.send_signal(signal.SIGHUP)
        server.send_signal(signal.SIGHUP)
        server.send_signal(signal.SIGTERM)
        assert server.stdout.read().split() == ["ended", "done"]
    assert server.returncode == 0
