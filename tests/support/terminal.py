"""A user at a terminal: a shell on a pseudo-terminal, with its input and output."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from support.patience import PATIENCE_S

#: Makes standard input the controlling terminal of a new session, then becomes the shell.
_TAKE_TERMINAL = (
    "import fcntl, os, signal, sys, termios;"
    "signal.signal(signal.SIGINT, signal.SIG_DFL);"
    "os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
_STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_INHERITED = ("PATH", "LANG", "HOME", "TMPDIR", "SSL_CERT_FILE")

CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """An interactive `sh` in a folder; use it as a context manager.

    Args:
        cwd: the initial folder.
        environment: variables in addition to those that every shell has.
        columns: the width of the terminal.
    """

    def __init__(
        self, cwd: Path, environment: Mapping[str, str] | None = None, *, columns: int = 100
    ) -> None:
        self._shown = ""
        self._read = 0
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._shell = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, "sh", "-i"],
            cwd=cwd,
            env={**inherited, "TERM": "xterm", "PS1": "$ ", "ENV": "", **(environment or {})},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        self.expect(r"\$ ")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Processes still running in it get SIGHUP, as when a terminal is closed.
        os.close(self._terminal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._shell.pid, signal.SIGHUP)
        try:
            self._shell.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._shell.kill()
            self._shell.wait()

    def type(self, text: str) -> None:
        """Type lines, followed by Enter."""
        self.press(text.replace("\n", "\r") + "\r")

    def press(self, keys: str) -> None:
        """Press keys."""
        pending = keys.encode()
        while pending:
            # The output must be read at the same time, or the other end stops accepting input.
            _, writable, _ = select.select([], [self._terminal], [], 0.05)
            if writable:
                pending = pending[os.write(self._terminal, pending[:256]) :]
            self._take()

    def run(self, command: str) -> tuple[int, str]:
        """Type a command, wait for its end, and return its status and output."""
        self.type(command)
        self.type('echo "status"=$?')
        found = self.expect(r"(?s)(.*?)(?:^|\$ )status=(\d+)")
        self.expect(r"\$ ")
        return int(found[2]), found[1]

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until the output after the last match matches."""
        wanted = re.compile(pattern, re.MULTILINE)
        until = time.monotonic() + PATIENCE_S
        while (found := wanted.search(self._shown, self._read)) is None:
            if time.monotonic() > until or not self._take(within_s=1.0):
                raise AssertionError(f"{pattern!r} was not shown:\n{self._shown[self._read :]}")
        self._read = found.end()
        return found

    def _take(self, *, within_s: float = 0.0) -> bool:
        """Read the available output; return whether the terminal is still open."""
        if not select.select([self._terminal], [], [], within_s)[0]:
            return True
        try:
            piece = os.read(self._terminal, 65536)
        except OSError:  # Linux signals in this way that the other end is closed
            return False
        self._shown += _STYLES.sub("", piece.decode("utf-8", "replace")).replace("\r\n", "\n")
        return bool(piece)
