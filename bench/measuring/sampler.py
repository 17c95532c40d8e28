"""Runs the stream function and notes, at intervals of its processor time, which layer it is in.

    python sampler.py LOG HANDLER

Each line of the log is a moment of `time.monotonic` and a layer. A sample belongs to `log` if the log or the
store is anywhere on the stack; else to the innermost frame that is in a module of `LAYERS`. So what asyncio,
the standard library and msgspec do counts for the layer that called them, and what asyncio does on its own is
`event loop`. The table's responses are read by the loop, not by the log, and count as `decode`.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
from types import FrameType

INTERVAL_S = 0.001
LAYERS = (
    ("log", ("coachstream.conversation.runs", "coachstream.storage")),
    ("decode", ("coachstream.language", "coachstream.aws", "aiobotocore", "botocore", "aiohttp")),
    ("turn", ("coachstream.conversation",)),
    ("encode", ("coachstream.web", "coachstream.functions")),
    ("transport", ("lambda_streaming", "h11", "awslambdaric")),
)
LOOP = "event loop"
NAMES = (*(name for name, _ in LAYERS), LOOP)


def layer_of(module: str) -> str | None:
    """The layer of a module; None if its time counts as its caller's."""
    for name, prefixes in LAYERS:
        if any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes):
            return name
    return None


def _layer_at(frame: FrameType | None) -> str:
    innermost: str | None = None
    # Below an iteration of the loop is the runtime, which only waits for it.
    while frame is not None and frame.f_code.co_name != "_run_once":
        layer = layer_of(frame.f_globals.get("__name__", ""))
        if layer == "log":
            return layer
        innermost = innermost or layer
        frame = frame.f_back
    return innermost or LOOP


def main() -> None:
    """Run the handler under the runtime, with the sampler."""
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def sample(_: int, frame: FrameType | None) -> None:
        os.write(log, f"{time.monotonic():.6f} {_layer_at(frame)}\n".encode())

    signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
    sys.argv = ["lambda_streaming", *sys.argv[2:]]
    runpy.run_module("lambda_streaming", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
