"""A command and its child processes as one process group: started, frozen, thawed and killed together.

The group stays in the emulator's session. If the emulator is killed, the group is orphaned, and the kernel
sends its stopped members SIGHUP and SIGCONT (POSIX, General Terminal Interface, "Orphaned Process Group"), so
nothing stays frozen forever. A process that starts a session of its own leaves the group and our control.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

MAX_LINE_BYTES: Final = 256 * 1024
"""A longer line of output is split."""

TAIL_LINES: Final = 20
"""How many lines of output are kept to explain a crash."""


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
        tail: the last lines of its output.
        frozen: whether it is stopped.
    """

    def __init__(self, process: subprocess.Popen[bytes], on_line: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        self.id = process.pid
        self.ended: asyncio.Future[int] = loop.create_future()
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.frozen = False
        self._process = process
        self._on_line = on_line
        pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
        self._outputs = [asyncio.create_task(self._pass_on(pipe)) for pipe in pipes]
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

    async def _pass_on(self, pipe: IO[bytes]) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        rest = b""
        try:
            while data := await reader.read(65_536):
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > MAX_LINE_BYTES:
                    lines.append(rest)
                    rest = b""
                for line in lines:
                    self._line(line)
            if rest:
                self._line(rest)
        finally:
            transport.close()

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        self.tail.append(text)
        self._on_line(text)


def ending(status: int) -> str:
    """Return an exit status as text, as Lambda logs it: `exit status 1`, `signal: killed`."""
    if status >= 0:
        return f"exit status {status}"
    return f"signal: {signal.strsignal(-status) or -status}".lower()
