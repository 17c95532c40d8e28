"""A command and its child processes as one process group: started, frozen, thawed and killed together.

The group stays in the emulator's session. If the emulator is killed, the group is orphaned, and the kernel
sends its stopped members SIGHUP and SIGCONT (POSIX, General Terminal Interface, "Orphaned Process Group"), so
nothing stays frozen forever. A process that starts a session of its own leaves the group and our control.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

MAX_LINE_BYTES: Final = 256 * 1024
"""A longer line of output is split."""

TAIL_BYTES: Final = 4 * 1024
"""How much of an invocation's output is kept (Lambda API reference, `Invoke`, `LogResult`, 2026-11-28)."""

_INT: Final = struct.Struct("i")


class CommandNotStarted(Exception):
    """Raised when a command cannot be started.

    Attributes:
        exit_status: what a shell would return: 127 if the command is not found, else 126.
    """

    def __init__(self, command: Sequence[str], error: OSError) -> None:
        super().__init__(f"cannot start {command[0]!r}: {error.strerror or error}")
        self.exit_status = 127 if isinstance(error, FileNotFoundError) else 126


class ProcessGroup:
    """A running group. Make one with `start`; wait for `ended`, or `terminate` it.

    Attributes:
        id: of the process and its group.
        ended: has the exit status when the command has exited, negative for a signal. The remaining
            processes of its group have then been killed.
        last_line: of its output since `begin_invocation`, to explain a crash; empty if there was none.
        tail: the last 4 KB of its output since `begin_invocation`.
        frozen: whether it is stopped.
    """

    def __init__(self, process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        self.id = process.pid
        self.ended: asyncio.Future[int] = loop.create_future()
        self.last_line = ""
        self.tail = b""
        self.frozen = False
        self._process = process
        self._on_line = on_line
        pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
        self._pipes = [_Output(pipe.fileno(), self._line) for pipe in pipes]
        self._outputs = [
            asyncio.create_task(self._pass_on(pipe, output))
            for pipe, output in zip(pipes, self._pipes, strict=True)
        ]
        threading.Thread(target=self._watch, args=(loop,), name=f"wait-{self.id}", daemon=True).start()

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None,
        on_line: Callable[[str], None],
    ) -> ProcessGroup:
        """Start a command with an empty standard input.

        Args:
            command: the program, looked up in the PATH of `env`, and its arguments.
            env: all of its environment variables.
            cwd: its working directory, by default the current one.
            on_line: called with each line of its output, without the line ending.

        Raises:
            CommandNotStarted: the program does not exist or cannot be executed.
        """

        def popen() -> subprocess.Popen[bytes]:
            return subprocess.Popen(  # noqa: S603 (running the user's own command is the purpose)
                command,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )

        # Cancellation must not lose a process that is being started.
        starting = asyncio.ensure_future(asyncio.to_thread(popen))
        try:
            return cls(await asyncio.shield(starting), on_line)
        except OSError as error:
            raise CommandNotStarted(command, error) from error
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                group = cls(await starting, on_line)
                group.kill()
                await group.finish()
            raise

    def begin_invocation(self) -> None:
        """Take all output so far for that of an earlier invocation."""
        self.last_line, self.tail = "", b""
        for output in self._pipes:
            output.mark_as_old()

    async def read_output(self) -> None:
        """Wait until everything that is in the pipes now has been read."""
        for output in self._pipes:
            await output.read_all()

    def freeze(self) -> None:
        """Stop all processes of the group."""
        self.frozen = True
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the group."""
        if self.frozen:
            self.frozen = False
            self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill all processes of the group at once, frozen or not."""
        self._signal(signal.SIGKILL)

    async def terminate(self, grace_s: float) -> None:
        """Ask the group to exit, kill it after `grace_s`, and wait until that is done."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        if not self.ended.done():
            await asyncio.wait((self.ended,), timeout=grace_s)
        self.kill()
        await self.finish()

    async def finish(self) -> None:
        """Wait until the command has ended and all of its output has been read."""
        await asyncio.wait((self.ended,))
        # A process that left the group may hold the pipes open: do not wait for its output.
        _, open_ones = await asyncio.wait(self._outputs, timeout=1.0)
        for output in open_ones:
            output.cancel()
        if open_ones:
            await asyncio.wait(open_ones)

    def _signal(self, number: signal.Signals) -> None:
        # The command is reaped only in `_reap`, on this thread, so its id cannot be reused before that.
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.id, number)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait in a thread until the command exits; it is reaped on the loop."""
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.id, os.WEXITED | os.WNOWAIT)
        else:  # macOS before Python 3.13: reaps here, so remaining children are killed a moment too late
            self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(self._reap)

    def _reap(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.id, signal.SIGKILL)
        status = self._process.poll()
        if not self.ended.done():
            self.ended.set_result(status if status is not None else -signal.SIGKILL)

    async def _pass_on(self, pipe: IO[bytes], output: _Output) -> None:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: output, pipe)
        try:
            await output.ended
        finally:
            transport.close()

    def _line(self, line: bytes, *, is_new: bool) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        if is_new:
            self.tail = (self.tail + line + b"\n")[-TAIL_BYTES:]
            if text.strip():
                self.last_line = text
        self._on_line(text)


class _Output(asyncio.Protocol):
    """One pipe of the output, read as it comes and split into lines.

    Args:
        on_line: called with each line, and `is_new`, false for one that was in the pipe at `mark_as_old`.

    Attributes:
        ended: done when the pipe has been closed.
    """

    def __init__(self, descriptor: int, on_line: Callable[..., None]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._descriptor = descriptor
        self._on_line = on_line
        self._rest = b""
        self._old_bytes = 0
        self._read_bytes = 0
        self._has_read = asyncio.Event()

    def mark_as_old(self) -> None:
        """Take everything that is in the pipe now for old, although it has not been read yet."""
        if not self.ended.done():
            self._old_bytes = self._unread_bytes()

    async def read_all(self) -> None:
        """Wait until everything that is in the pipe now has been read, or the pipe is closed."""
        if self.ended.done():
            return
        goal = self._read_bytes + self._unread_bytes()
        while self._read_bytes < goal:
            self._has_read.clear()
            await self._has_read.wait()

    def _unread_bytes(self) -> int:
        (unread,) = _INT.unpack(fcntl.ioctl(self._descriptor, termios.FIONREAD, bytes(_INT.size)))
        return int(unread)

    def data_received(self, data: bytes) -> None:
        """Pass on the lines that are complete."""
        self._read_bytes += len(data)
        self._has_read.set()
        old, new = data[: self._old_bytes], data[self._old_bytes :]
        self._old_bytes -= len(old)
        self._feed(old, is_new=False)
        self._feed(new, is_new=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (as asyncio calls it)
        """Pass on what follows the last line ending."""
        if self._rest:
            self._on_line(self._rest, is_new=True)
        self._read_bytes = sys.maxsize  # ends a wait for more
        self._has_read.set()
        if not self.ended.done():
            self.ended.set_result(None)

    def _feed(self, data: bytes, *, is_new: bool) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._on_line(line, is_new=is_new)


def ending(status: int) -> str:
    """Return an exit status as text, as Lambda logs it: `exit status 1`, `signal: killed`."""
    if status >= 0:
        return f"exit status {status}"
    return f"signal: {signal.strsignal(-status) or -status}".lower()
