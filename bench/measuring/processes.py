"""The processor time and the memory of a function's processes (Linux)."""

from __future__ import annotations

import os
import re
import time
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
