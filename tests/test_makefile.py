"""What a newcomer sees of `make`: its targets, its progress, and what the machine lacks."""

from __future__ import annotations

import base64
import hashlib
import os
import pty
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.patience import PATIENCE_S
from support.places import ROOT

FETCH = ROOT / "tests" / "support" / "fetch_peers.sh"
INSTALL = ROOT / "requirements" / "install.py"


def peers() -> dict[Path, tuple[str, list[str]]]:
    """The script of each peer, with the peer's name and the tools it requires."""
    makefile = (ROOT / "Makefile").read_text()
    folders = re.search(r"^PEERS := ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    assert folders is not None
    found = {}
    for folder in folders[1].replace("\\\n", " ").split():
        script = ROOT / folder / "install.sh"
        if required := re.search(r'^require "(.*)" (.*)$', script.read_text(), re.MULTILINE):
            found[script] = (required[1], required[2].split())
        else:
            npm = re.search(r'npm_ci\.sh" \S+ \S+ "([^"]*)" "\$@"$', script.read_text(), re.MULTILINE)
            assert npm is not None, script
            found[script] = (npm[1], ["node", "npm"])
    return found


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


def test_an_unknown_target_lists_the_existing_ones() -> None:
    """The exit status is 2, and the list is the one that `make help` prints."""
    refused = run("make", "sevre")
    assert refused.returncode == 2
    assert "There is no target sevre." in refused.stderr
    assert "make serve " in refused.stderr
    assert "make serve " in run("make", "help").stdout


@pytest.mark.parametrize("script", peers(), ids=lambda script: script.parent.name)
def test_missing_tools_of_a_peer_are_reported_before_anything_is_fetched(
    script: Path, tmp_path: Path
) -> None:
    """The machine has none of the tools and has not fetched the peer yet; the report is one sentence."""
    for tool in ("dirname", "sh", "cksum"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    for tool in ("cmp", "cat"):  # a script uses these to see whether the peer is installed
        (tmp_path / tool).symlink_to(shutil.which("false") or "false")
    checked = run("/bin/sh", str(script), "--check", PATH=str(tmp_path))
    what, tools = peers()[script]
    assert checked.returncode == 1
    (sentence,) = checked.stderr.splitlines()
    assert sentence.startswith(f"{what} cannot be had without: {' '.join(tools)} (")


def test_the_readme_says_what_each_peer_requires() -> None:
    """Each peer has a row with every tool, by its name or its package's."""
    readme = (ROOT / "README.md").read_text()
    packages = {"aclocal": "automake", "autoreconf": "autoconf", "libtoolize": "libtool", "java": "Java"}
    packages |= {"c++": "C++", "node": "Node", "npm": "Node", "cargo": "Rust", "mvn": "Maven", "go": "Go"}
    packages |= {"python3": "Python"}
    for what, tools in peers().values():
        (row,) = [line for line in readme.splitlines() if line.lower().startswith(f"| {what.lower()}")]
        assert [tool for tool in tools if packages.get(tool, tool) not in row] == []


def _peer(folder: Path, name: str, body: str) -> str:
    script = folder / name / "install.sh"
    script.parent.mkdir()
    support = ROOT / "tests" / "support"
    script.write_text(f'#!/bin/sh\nset -eu\npeer_mode=${{1:-}}\n. "{support}/peer.sh"\n{body}\n')
    script.chmod(0o755)
    return str(script.parent)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_peer_that_cannot_be_fetched_does_not_block_the_others(tmp_path: Path, jobs: str) -> None:
    """Missing tools are reported first, other peers are fetched, summary and exit status show failures."""
    fetched = tmp_path / "fetched"
    folders = [
        _peer(tmp_path, "lacking", 'require "The one" sh no-such-tool'),
        _peer(tmp_path, "broken", 'require "The two" sh; echo "no network" >&2; exit 1'),
        _peer(tmp_path, "good", f'require "The three" sh; touch "{fetched}"'),
    ]
    done = run(str(FETCH), *folders, JOBS=jobs)
    assert done.returncode == 1
    assert fetched.exists()
    first, *rest = done.stderr.splitlines()
    assert first == "The one cannot be had without: no-such-tool (Debian: apt install no-such-tool)"
    assert f"Skipped, because the tools named above are missing: {folders[0]}" in rest
    assert f"Failed, for the reason given above: {folders[1]} " in rest
    assert run(str(FETCH), folders[2]).returncode == 0


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout with nothing installed."""
    for name in ("Makefile", "pyproject.toml", "requirements", "packages"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_without_a_python_that_is_new_enough_the_first_call_says_which_is_needed(bare: Path) -> None:
    """This includes a Python without venv or ensurepip, such as Debian's."""
    programs = bare / "programs"
    programs.mkdir()
    for tool in ("sh", "make"):
        (programs / tool).symlink_to(shutil.which(tool) or tool)
    (programs / "python3").write_text("#!/bin/sh\nexit 1\n")
    (programs / "python3").chmod(0o755)
    refused = run("make", "-C", str(bare), "serve", PATH=str(programs))
    assert refused.returncode == 2
    assert "coachstream needs Python 3.11 or newer with venv and ensurepip" in refused.stderr
    assert not (bare / ".venv").exists()


def test_without_a_network_the_first_call_says_what_could_not_be_done(bare: Path) -> None:
    """The next call tries again."""
    for _ in range(2):
        refused = run("make", "-C", str(bare), "serve", PIP_NO_INDEX="1", PIP_CACHE_DIR=str(bare / "cache"))
        assert refused.returncode == 2
        assert "No matching distribution found for uv" in refused.stderr
        assert "run.lock could not be installed, for the reason above" in refused.stderr
        assert "Check the network" in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """The address of a package index with one wheel."""
    folder = tmp_path / "simple" / "tiny"
    folder.mkdir(parents=True)
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    files = {
        "tiny.py": b"",
        "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},"
        f"{len(content)}\n"
        for name, content in files.items()
    )
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("tiny-1.0.dist-info/RECORD", f"{record}tiny-1.0.dist-info/RECORD,,\n")
    (folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (tmp_path / "tiny.lock").write_text(f"tiny==1.0 \\\n    --hash=sha256:{digest}\n")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The Python of a virtual environment that has the installer and can be installed into."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "ours.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return tmp_path / "venv" / "bin" / "python"


def installing(environment: Path, index: str) -> tuple[list[str], dict[str, str]]:
    """The command and its environment, with an index configured for pip only."""
    folder = environment.parents[2]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    variables = {**kept, "PIP_CONFIG_FILE": str(folder / "pip.conf"), "UV_CACHE_DIR": str(folder / "cache")}
    (folder / "pip.conf").write_text(f"[global]\nindex-url = {index}\n")
    return [str(environment), str(INSTALL), str(folder / "tiny.lock")], variables


def is_installed(environment: Path) -> bool:
    return (
        subprocess.run([str(environment), "-c", "import tiny"], check=False, capture_output=True).returncode
        == 0
    )


def test_an_installation_shows_its_progress_on_a_terminal(index: str, environment: Path) -> None:
    """The progress is uv's own."""
    command, variables = installing(environment, index)
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, env=variables, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123 (a descriptor)
            try:
                while piece := terminal.read(4096):
                    shown += piece
            except OSError:
                pass  # Linux signals in this way that the other end is closed
    assert process.returncode == 0, shown
    assert b"Installed 1 package" in re.sub(rb"\x1b\[[0-9;]*m", b"", shown)
    assert b"Installed tiny.lock in" in shown
    assert is_installed(environment)


def test_an_installation_without_a_terminal_is_one_line(index: str, environment: Path) -> None:
    """A line for each of sixty packages would clutter a log."""
    command, variables = installing(environment, index)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"  Installed tiny\.lock in \d+ s\.\n", done.stderr)
    assert done.stdout == ""
    assert is_installed(environment)


def test_a_file_that_is_not_the_pinned_one_is_not_installed(index: str, environment: Path) -> None:
    """This holds for every index; the message gives the reason and says where to look."""
    command, variables = installing(environment, index)
    Path(command[-1]).write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "hash mismatch" in done.stderr.lower()
    assert "tiny.lock could not be installed, for the reason above" in done.stderr
    assert "package index" in done.stderr
    assert not is_installed(environment)
