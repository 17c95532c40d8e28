"""Changes of files below a folder, and what the emulator does about them."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from lambda_streaming.emulator.reloading import FolderWatch, snapshot
from support.emulating import emulating
from support.patience import PATIENCE_S

HANDLER = """
def handler(event, context):
    return "{}"
"""


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


@pytest.mark.parametrize(
    ("name", "is_watched"),
    [
        ("app.py", True),
        ("deep/er/data.json", True),
        (".git/index", False),
        (".env", False),
        ("a/__pycache__/app.pyc", False),
        ("node_modules/x/index.js", False),
        ("venv/lib/module.py", False),
    ],
)
def test_a_folder_is_watched_without_what_programs_write(name: str, is_watched: bool, tmp_path: Path) -> None:
    """Starting the function writes byte code: that must not replace its environment."""
    _write(tmp_path / "venv" / "pyvenv.cfg")
    before = snapshot([tmp_path])
    _write(tmp_path / name)
    assert (snapshot([tmp_path]) != before) == is_watched


def test_a_folder_that_cannot_be_read_has_no_files(tmp_path: Path) -> None:
    """It may have been removed, and may come back."""
    assert snapshot([tmp_path / "missing"]) == {}


async def test_each_change_is_noticed_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A new file, other content, a removal; the log names the file."""
    caplog.set_level("INFO", "lambda_streaming.emulator")
    changes = asyncio.Queue[None]()
    file = tmp_path / "app.py"
    watch = FolderWatch([tmp_path], lambda: changes.put_nowait(None))
    await watch.start()
    unwatched = tmp_path / ".app.py"

    def save(text: str) -> None:
        unwatched.write_text(text)
        unwatched.rename(file)  # at once, so that no half-written file is noticed

    steps: tuple[Callable[[], None], ...] = (
        lambda: save("one"),
        lambda: os.utime(file, ns=(1, 1)),
        lambda: save("longer"),
        file.unlink,
    )
    for change in steps:
        change()
        async with asyncio.timeout(PATIENCE_S):
            await changes.get()
    await watch.aclose()
    assert changes.empty()
    assert caplog.text.count(f"{file} has changed") == 4


def test_the_emulator_runs_the_new_code_after_a_change(tmp_path: Path) -> None:
    """The process is replaced by the next request; no restart of the emulator is needed."""
    app = tmp_path / "app.py"
    app.write_text(HANDLER.format("old"))
    command = (sys.executable, "-m", "lambda_streaming", "app.handler")
    patient = ("--init-timeout", str(PATIENCE_S))
    with emulating(
        tmp_path, "--reload", ".", "--invoke-mode", "buffered", *patient, "--", *command
    ) as emulator:
        assert httpx.get(emulator.url, timeout=PATIENCE_S).text == "old"
        (tmp_path / ".app.py").write_text(HANDLER.format("newer"))
        (tmp_path / ".app.py").rename(app)
        deadline = time.monotonic() + PATIENCE_S
        while f"{app.name} has changed" not in emulator.log():
            assert time.monotonic() < deadline, "the change was not noticed"
            time.sleep(0.01)
        assert httpx.get(emulator.url, timeout=PATIENCE_S).text == "newer"
        # The log is in the same folder: to write there must not be another change.
        assert emulator.log().count("has changed") == 1
