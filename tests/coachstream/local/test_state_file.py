from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from coachstream.local.state_file import ServeState, announced, find_server


def test_a_server_is_found_while_it_runs(tmp_path: Path) -> None:
    """The note lasts as long as the server, and leaves nothing behind."""
    assert find_server(tmp_path) is None
    with announced(tmp_path, "http://127.0.0.1:1/"):
        assert find_server(tmp_path) == ServeState("http://127.0.0.1:1/", os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_the_note_of_a_killed_server_is_not_believed(tmp_path: Path) -> None:
    """A process that is gone serves nothing; a broken note is no note."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / "serve.json").write_text(f'{{"url": "http://127.0.0.1:1/", "pid": {ended.pid}}}')
    assert find_server(tmp_path) is None
    (tmp_path / "serve.json").write_text("{")
    assert find_server(tmp_path) is None


def test_an_older_server_does_not_take_the_note_of_a_newer_one_away(tmp_path: Path) -> None:
    """The last one started is found until it ends."""
    with announced(tmp_path, "http://127.0.0.1:1/"):
        newer = announced(tmp_path, "http://127.0.0.1:2/")
        newer.__enter__()
    found = find_server(tmp_path)
    assert found is not None
    assert found.url == "http://127.0.0.1:2/"
    newer.__exit__(None, None, None)
