"""The emulator's command line as a real process; its descendants are marked by an environment variable."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

from support.patience import PATIENCE_S
from support.serving import marked_processes, read_line

MODULE = (sys.executable, "-m", "lambda_streaming.emulator")


class Emulating:
    """A running emulator that listens at `url`."""

    def __init__(self, process: subprocess.Popen[str], url: str, mark: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._mark = mark
        self._log = log

    def log(self) -> str:
        """The emulator's standard error so far."""
        return self._log.read_text()

    def processes(self) -> list[int]:
        """The live processes that it started, itself included (Linux)."""
        return marked_processes(self._mark)

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def emulating(folder: Path, *arguments: str) -> Iterator[Emulating]:
    """Run the emulator with `--json --port 0` and the arguments during the block."""
    value = uuid.uuid4().hex
    log = folder / "emulator.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*MODULE, "--json", "--port", "0", *arguments],
            cwd=folder,
            env={**os.environ, "EMULATOR_TEST_MARK": value},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    mark = f"EMULATOR_TEST_MARK={value}"
    try:
        line = read_line(process.stdout, PATIENCE_S)
        assert line, f"it ended with {process.wait(PATIENCE_S)}:\n{log.read_text()}"
        ready = msgspec.json.decode(line)
        assert ready["event"] == "ready"
        yield Emulating(process, ready["url"], mark, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
        for leftover in marked_processes(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(leftover, signal.SIGKILL)
