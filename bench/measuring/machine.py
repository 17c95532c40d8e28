"""What a measurement ran on, without which its figures mean little."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping


def load() -> float:
    """The average number of runnable processes in the last minute."""
    return os.getloadavg()[0]


def machine(load_before: float | None = None) -> dict[str, str]:
    """Describe the machine at the end of a measurement.

    Args:
        load_before: its load at the beginning; None leaves both loads out.
    """
    loads = (
        {} if load_before is None else {"load before": f"{load_before:.1f}", "load after": f"{load():.1f}"}
    )
    return {"CPUs": str(len(os.sched_getaffinity(0))), **loads, "Python": platform.python_version()}


def machine_line(found: Mapping[str, str]) -> str:
    """The last line of a table."""
    return "; ".join(f"{name} {value}" for name, value in found.items())
