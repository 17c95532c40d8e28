"""The packages as users get them: built by `make dist`, installed into fresh environments."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.artifacts import UV, dist, from_dist, install, wheel
from support.patience import PATIENCE_S
from support.places import CLIENT, LAMBDA_STREAMING
from support.serving import Serving, create_conversation, read_line, running

__all__ = ["dist"]

pytestmark = pytest.mark.peer

#: The options of `coachstream serve` in every test.
SERVE = ("serve", "--json", "--port", "0", "--data")

NODE = shutil.which("node")
NPM = shutil.which("npm")


@pytest.fixture(scope="module")
def bare(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with only `lambda-streaming` installed."""
    return install(tmp_path_factory.mktemp("bare") / "venv", dist, "lambda-streaming")


@pytest.fixture(scope="module")
def service(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with `coachstream`, without extras."""
    return install(tmp_path_factory.mktemp("service") / "venv", dist, str(wheel(dist, "coachstream")))


@pytest.fixture(scope="module")
def served(service: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """`coachstream serve` from that environment, on an empty folder."""
    folder = tmp_path_factory.mktemp("served")
    with running(
        [str(service / "coachstream"), *SERVE, str(folder / "data")],
        log=folder / "serve.log",
        cwd=folder,
        environment=elsewhere(service),
    ) as server:
        yield server


def elsewhere(programs: Path) -> dict[str, str]:
    """Environment variables with those programs first on the PATH and none of this checkout's modules."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def run(programs: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(programs / command[0]), *command[1:]],
        cwd=programs,
        env=elsewhere(programs),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def say_hello(server: Serving) -> str:
    """Send a message in a new conversation and return the stream."""
    ready = server.ready
    return httpx.post(
        ready.stream(create_conversation(ready)),
        headers=ready.headers,
        json={"userResponse": "Hello"},
        timeout=PATIENCE_S,
    ).text


def blocks(readme: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", readme.read_text(), re.MULTILINE | re.DOTALL)
    return [block for named, block in found if named == language]


def test_lambda_streaming_installs_two_dependencies_and_is_imported_without_the_extra(bare: Path) -> None:
    """This keeps a function's package small."""
    program = """
import importlib.metadata, importlib.util, json, lambda_streaming
wanted = [each for each in importlib.metadata.requires("lambda-streaming") if "extra ==" not in each]
extras = [name for name in ("uvicorn", "typer", "rich", "psutil") if importlib.util.find_spec(name)]
print(json.dumps([wanted, extras, lambda_streaming.__file__]))
"""
    done = run(bare, "python", "-c", program)
    assert done.returncode == 0, done.stderr
    wanted, extras, file = json.loads(done.stdout)
    assert sorted(re.split(r"[^a-z0-9-]", each)[0] for each in wanted) == ["awslambdaric", "msgspec"]
    assert extras == []
    assert Path(file).is_relative_to(bare.parent)


def test_the_emulator_without_its_extra_is_refused_in_one_sentence(bare: Path) -> None:
    """The message names the command that installs the missing packages."""
    refused = run(bare, "python", "-m", "lambda_streaming.emulator", "--", "true")
    assert refused.returncode == 1
    assert refused.stdout == ""
    (sentence,) = refused.stderr.splitlines()
    assert sentence.endswith("pip install 'lambda-streaming[emulator]'")


def test_the_first_example_of_lambda_streamings_readme_runs_as_it_is_written(
    dist: Path, tmp_path: Path
) -> None:
    """The app is saved as main.py and served with the README's command, but on a free port."""
    readme = LAMBDA_STREAMING / "README.md"
    lines = [line for block in blocks(readme, "") for line in block.splitlines()]
    installed = shlex.split(next(line for line in lines if "[emulator]" in line))
    assert installed[:2] == ["pip", "install"]
    programs = install(tmp_path / "venv", dist, *installed[2:])
    (tmp_path / "main.py").write_text(blocks(readme, "python")[0])
    command = shlex.split(
        next(line for line in lines if line.startswith("python -m lambda_streaming.emulator"))
    )
    command[command.index("--port") + 1] = "0"
    patient = ("--init-timeout", str(PATIENCE_S), "--timeout", str(PATIENCE_S))
    command[command.index("--port") : command.index("--port")] = ["--json", *patient]
    with subprocess.Popen(
        [str(programs / command[0]), *command[1:]],
        cwd=tmp_path,
        env=elsewhere(programs),
        stdout=subprocess.PIPE,
        text=True,
    ) as emulator:
        try:
            assert emulator.stdout is not None
            url = json.loads(read_line(emulator.stdout, PATIENCE_S))["url"]
            response = httpx.get(url, timeout=PATIENCE_S)
        finally:
            emulator.terminate()
    assert response.text == "Hello, streaming world!\n"


def test_coachstream_serves_a_chat_from_its_wheel(served: Serving) -> None:
    """The page is served with the client's files, and a message gets a reply."""
    client = httpx.get(f"{served.ready.url}js/coachstream.js", timeout=PATIENCE_S)
    assert client.content == (CLIENT / "coachstream.js").read_bytes()
    assert '"type":"complete"' in say_hello(served)


def test_a_model_without_its_extra_is_refused_in_one_sentence(service: Path, tmp_path: Path) -> None:
    """`coachstream serve --model bedrock` says what to install, and does not start."""
    refused = run(service, "coachstream", *SERVE, str(tmp_path / "data"), "--model", "bedrock")
    assert refused.returncode != 0
    (sentence,) = refused.stderr.splitlines()
    assert sentence.endswith("pip install 'coachstream[aws]'")


def test_uvx_runs_coachstream_from_the_wheel_alone(dist: Path, tmp_path: Path) -> None:
    """`uvx --from WHEEL coachstream serve` works without an existing environment."""
    command = [*UV, "tool", "run", "--isolated", *from_dist(dist), "--from", str(wheel(dist, "coachstream"))]
    with running(
        [*command, "coachstream", *SERVE, str(tmp_path / "data")], log=tmp_path / "serve.log", cwd=tmp_path
    ) as server:
        assert '"type":"complete"' in say_hello(server)
        server.stop(signal.SIGTERM)  # uv leaves SIGINT to the terminal


@pytest.mark.skipif(NODE is None or NPM is None, reason="needs Node.js with npm")
def test_the_npm_package_reads_a_reply_as_its_readme_does(
    dist: Path, served: Serving, tmp_path: Path
) -> None:
    """Installed into an empty folder, it is imported with the README's line and streams from the server."""
    assert NPM is not None
    assert NODE is not None
    (tarball,) = (dist / "npm").glob("*.tgz")
    installed = subprocess.run(
        [NPM, "install", "--no-audit", "--no-fund", "--offline", str(tarball)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert installed.returncode == 0, installed.stderr
    example = blocks(CLIENT.parent / "README.md", "js")[0]
    ready = served.ready
    conversation = ready.stream(create_conversation(ready)).removesuffix("/stream")
    # What the README assumes: an address, a signed-in user, a button and a bubble.
    around = f"""
const conversationUrl = {json.dumps(conversation)};
const auth = {{ idToken: () => {json.dumps(ready.token)} }};
const stopButton = {{}}, bubble = {{}};
"""
    imported, _, rest = example.partition("\n")
    (tmp_path / "example.mjs").write_text(f"{imported}\n{around}{rest}\nconsole.log(bubble.textContent);\n")
    done = subprocess.run(
        [NODE, "example.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    assert "week" in done.stdout
