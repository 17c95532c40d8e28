"""Install a lock file with pip, and show how far that is: `python requirements/install.py LOCK`.

On a terminal, one line that changes; elsewhere, one line at the end. Needs nothing but Python and its pip.
"""

from __future__ import annotations

import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TextIO

_PIN = re.compile(r"^([A-Za-z0-9._-]+(?:\[[^]]*\])?)==", re.MULTILINE)
_LOOKED_AT = re.compile(r"^(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)")
_INSTALLING = "Installing collected packages"
_LAST_LINES = 15
_TICK_S = 1.0


class Progress:
    """How far pip is, for the one who waits."""

    def __init__(self, packages: int, out: TextIO) -> None:
        self._packages = packages
        self._out = out
        self._is_terminal = out.isatty()
        self._began = time.monotonic()
        self._seen = 0
        self._doing = "asking the package index"

    def take(self, line: str) -> None:
        """Learn from a line that pip printed."""
        if looked_at := _LOOKED_AT.match(line):
            self._seen = min(self._seen + 1, self._packages)
            self._doing = looked_at[1]
        elif line.startswith(_INSTALLING):
            self._seen = self._packages
            self._doing = "putting them in place"

    def show(self) -> None:
        """Draw the line again, on a terminal."""
        if self._is_terminal:
            seconds = time.monotonic() - self._began
            line = f"  {self._seen}/{self._packages} packages, {seconds:.0f} s: {self._doing}"
            self._out.write(f"\r\x1b[K{line[:78]}")
            self._out.flush()

    def end(self, sentence: str) -> None:
        """Leave a last line."""
        self._out.write(f"\r\x1b[K{sentence}\n" if self._is_terminal else f"{sentence}\n")
        self._out.flush()

    @property
    def took_s(self) -> float:
        """Since the beginning, in seconds."""
        return time.monotonic() - self._began


def install(lock: Path, out: TextIO) -> int:
    """Run pip, and give its exit status."""
    progress = Progress(len(_PIN.findall(lock.read_text())), out)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off"]
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603 (ours)
        [*command, "--require-hashes", "--requirement", str(lock)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        assert pip.stdout is not None  # noqa: S101 (narrows the type)
        for line in _lines_and_ticks(pip.stdout):
            if line is not None:
                lines.append(line)
                progress.take(line)
            progress.show()
    if pip.returncode == 0:
        progress.end(f"  Installed {lock.name} in {progress.took_s:.0f} s.")
    else:
        progress.end(f"  pip could not install {lock.name}; it said last:")
        out.writelines(f"    {line.rstrip()}\n" for line in lines[-_LAST_LINES:])
        out.write("  Is the network open, and is the package index the right one (`pip config list`)?\n")
    return pip.returncode


def _lines_and_ticks(stream: IO[str]) -> Iterator[str | None]:
    """The lines of a stream, and None for each second without one."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=_TICK_S)
        except queue.Empty:
            yield None
            continue
        if not line:
            return
        yield line


if __name__ == "__main__":
    try:
        sys.exit(install(Path(sys.argv[1]), sys.stderr))
    except KeyboardInterrupt:
        sys.exit(130)
