"""Processes that are measured: their processor time and memory (Linux), and how long a program runs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_SCHEDULED_CPU = 2
"""`CPUCLOCK_SCHED` of the kernel's include/linux/posix-timers_types.h."""


def processes_of_group(group: int) -> tuple[int, ...]:
    """The processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
            except ProcessLookupError:
                pass
    return tuple(found)


def cpu_s(process: int) -> float:
    """Processor time of a process so far, all its threads together, to the nanosecond.

    /proc has it in hundredths of a second, which is too coarse for a turn.
    """
    return time.clock_gettime((~process << 3) | _SCHEDULED_CPU)


def peak_mb(process: int) -> float:
    """The largest resident set of a process so far, or since `forget_peak`, in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    [kib] = re.findall(r"VmHWM:\s+(\d+)", status)
    return int(kib) / 1024


def forget_peak(process: int) -> None:
    """Restart the peak with what is resident now (proc(5), `clear_refs`)."""
    Path(f"/proc/{process}/clear_refs").write_text("5")


def proportional_mb(process: int) -> float:
    """Resident memory now, in MiB; what several processes share is divided between them (PSS)."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    [kib] = re.findall(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)
    return int(kib) / 1024


def program_ms(program: str, variables: Mapping[str, str]) -> float:
    """The run time of a Python process that runs the program, from start to exit, in milliseconds.

    Args:
        program: its source.
        variables: all of its environment variables but the PATH.
    """
    began = time.perf_counter()
    environment = {"PATH": os.environ["PATH"], **variables}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)  # noqa: S603 (our own programs)
    return (time.perf_counter() - began) * 1000


def free_port() -> int:
    """A port that nothing listens on, for a program that takes only a number."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port
