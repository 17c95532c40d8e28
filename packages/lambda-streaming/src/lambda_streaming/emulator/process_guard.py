"""Kills process groups when the emulator cannot: a shell that waits for end-of-file on a pipe we hold open.

However the emulator ends, even by SIGKILL, the kernel closes its end of the pipe. The kernel would wake
frozen groups (see `process_group`), but a busy one that does no I/O would not notice, nor its children.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
from typing import Final

from lambda_streaming.emulator.process_group import ProcessGroup

logger = logging.getLogger("lambda_streaming.emulator")

_SCRIPT: Final = """
groups=
while read -r change id; do
  kept=
  for group in $groups; do [ "$group" = "$id" ] || kept="$kept $group"; done
  groups=$kept
  [ "$change" = remove ] || groups="$groups $id"
done
for group in $groups; do kill -9 "-$group" 2>/dev/null; done
"""


class ProcessGuard:
    """Watches the process groups of one pool. Costs one idle shell, started with the first environment."""

    def __init__(self) -> None:
        self._shell: asyncio.Task[subprocess.Popen[bytes] | None] | None = None
        self._pipe: int | None = None

    async def start(self) -> None:
        """Start the shell, unless it is running."""
        if self._shell is None:
            self._shell = asyncio.create_task(asyncio.to_thread(_start_shell))
        shell = await asyncio.shield(self._shell)
        if shell is not None and shell.stdin is not None:
            self._pipe = shell.stdin.fileno()

    def watch(self, group: ProcessGroup) -> None:
        """Kill this group if the emulator dies first."""
        self._send(f"add {group.id}\n")
        group.ended.add_done_callback(lambda _: self._send(f"remove {group.id}\n"))

    async def close(self) -> None:
        """End the shell; it kills the groups that are still watched."""
        if self._shell is not None:
            shell, self._shell, self._pipe = await self._shell, None, None
            if shell is not None and shell.stdin is not None:
                shell.stdin.close()
                await asyncio.to_thread(shell.wait)

    def _send(self, line: str) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):  # the guard was killed: continue without it
                os.write(self._pipe, line.encode("ascii"))


def _start_shell() -> subprocess.Popen[bytes] | None:
    try:
        shell = subprocess.Popen(  # noqa: S603 (a constant script)
            ["/bin/sh", "-c", _SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            process_group=0,  # Ctrl-C in a terminal must not reach it
        )
    except OSError as error:
        logger.warning("Without /bin/sh, SIGKILL to the emulator may leave processes behind: %s", error)
        return None
    if shell.stdin is not None:
        os.set_blocking(shell.stdin.fileno(), False)
    return shell
