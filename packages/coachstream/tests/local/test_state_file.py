from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from coachstream.local.state_file import ServeState, announced, find_servers

FIRST, SECOND = "http://127.0.0.1:1/", "http://127.0.0.1:2/"

#: Announces a server from a separate process until that is ended.
SERVER = """
import sys, time
from pathlib import Path
from coachstream.local.state_file import announced
with announced(Path(sys.argv[1]), sys.argv[2], now=float(sys.argv[3])):
    print("announced", flush=True)
    time.sleep(600)
"""


def server(data: Path, url: str, now: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(data), url, str(now)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "announced\n"
    return process


def end(process: subprocess.Popen[str], sign: signal.Signals) -> None:
    process.send_signal(sign)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_server_is_found_while_it_runs(tmp_path: Path) -> None:
    """The state file exists as long as the server runs, and nothing is left behind."""
    assert find_servers(tmp_path) == ()
    with announced(tmp_path, FIRST, now=7):
        assert find_servers(tmp_path) == (ServeState(7, FIRST, os.getpid()),)
    assert list(tmp_path.iterdir()) == []


def test_a_second_server_on_the_same_folder_does_not_hide_the_first(tmp_path: Path) -> None:
    """Both are found, the newer one first; if the newer one is killed, the older one is still found."""
    older, newer = server(tmp_path, FIRST, 1), server(tmp_path, SECOND, 2)
    assert [found.url for found in find_servers(tmp_path)] == [SECOND, FIRST]
    end(newer, signal.SIGKILL)
    assert [found.url for found in find_servers(tmp_path)] == [FIRST]
    end(older, signal.SIGTERM)
    assert find_servers(tmp_path) == ()


def test_the_state_file_of_a_killed_server_is_removed_even_if_its_process_id_is_reused(
    tmp_path: Path,
) -> None:
    """The process that now has the dead server's id serves nothing."""
    killed = server(tmp_path, FIRST, 1)
    end(killed, signal.SIGKILL)
    (note,) = tmp_path.glob("*.json")
    note.write_text(note.read_text().replace(str(killed.pid), str(os.getpid())))
    assert find_servers(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_a_malformed_state_file_is_no_server(tmp_path: Path) -> None:
    """Whatever it says, no process holds its lock."""
    (tmp_path / "serve.json").write_text("{")
    assert find_servers(tmp_path) == ()
