"""A fresh clone: what it contains, and `make serve` in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.patience import PATIENCE_S
from support.places import ROOT
from support.serving import create_conversation, running, stored_messages

pytestmark = [
    pytest.mark.peer,  # the Makefile chooses its own Python
    pytest.mark.skipif(shutil.which("make") is None, reason="needs make"),
    pytest.mark.skipif(shutil.which("git") is None, reason="needs git"),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a git checkout"),
]


#: The endings of what is built or downloaded.
BUILT = {".whl", ".gz", ".tgz", ".zip", ".jar", ".so", ".pyc", ".log"}


def _tracked_files() -> Iterator[str]:
    """The names of the files that a clone of the current state would contain."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    return (name for name in os.fsdecode(listed).split("\0") if name and (ROOT / name).is_file())


def _copy_tracked_files(target: Path) -> None:
    """Copy what a clone of the current state would contain."""
    for name in _tracked_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)


def test_a_clone_contains_nothing_that_is_built_or_downloaded() -> None:
    """Packages and archives belong in `dist/` and `.cache/`, which are ignored."""
    assert [name for name in _tracked_files() if Path(name).suffix in BUILT] == []


def test_make_serve_in_a_fresh_clone_replies_and_stops_cleanly(tmp_path: Path) -> None:
    """Python and make suffice to get a coach's reply; Ctrl-C exits with 0 and keeps the data."""
    clone = tmp_path / "clone"
    _copy_tracked_files(clone)
    command = ["make", "--no-print-directory", "serve", "ARGS=--json --port 0"]
    with running(
        command, cwd=clone, log=tmp_path / "make.log", ready_within_s=5 * PATIENCE_S, terminal=True
    ) as server:
        ready = server.ready
        page = httpx.get(ready.url)
        assert page.status_code == httpx.codes.OK
        assert page.headers["content-type"].startswith("text/html")
        conversation = create_conversation(ready)
        reply = httpx.post(
            ready.stream(conversation),
            headers=ready.headers,
            json={"userResponse": "Hello"},
            timeout=PATIENCE_S,
        )
        assert '"type":"complete"' in reply.text
        assert server.press_ctrl_c() == 0
        assert server.processes() == []
    # On a terminal again: without one, make would not pass on the interrupt that ends it.
    with running(command, cwd=clone, log=tmp_path / "again.log", terminal=True) as again:
        assert [message["role"] for message in stored_messages(again.ready, conversation)] == [
            "user",
            "assistant",
        ]
        assert again.press_ctrl_c() == 0
