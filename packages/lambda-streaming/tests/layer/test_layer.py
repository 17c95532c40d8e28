"""The Lambda layer: its contents, reproducible builds, and an unchanged function that streams with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from lambda_streaming.layer.build import EXEC_WRAPPER, LOCK, MOST_ZIPPED, PYTHONS
from lambda_streaming.packaging.archive import unpack
from lambda_streaming.packaging.sizes import MOST_UNZIPPED
from support.emulating import Emulating, emulating
from support.patience import PATIENCE_S
from support.places import LAMBDA_STREAMING

OPT = "/opt"
BOOTSTRAP = "/var/runtime/bootstrap.py"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

#: An app that responds with where modules come from, and pauses between two chunks until a file is gone.
APP = """
import asyncio, json, os, sys

def origins():
    return {
        name: sys.modules[name].__file__
        for name in ("lambda_streaming", "lambda_streaming.runtime", "awslambdaric", "msgspec")
    }

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    line = json.dumps(origins()).encode() + b"\\n"
    await send({"type": "http.response.body", "body": line, "more_body": True})
    while os.path.exists("gate"):
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b"the end\\n"})
"""


def run(*arguments: str, cwd: Path, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lambda_streaming.layer", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        umask=umask,
    )


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """The same layer, built twice at the same time, from two folders with two umasks; and the output."""
    folders = [tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")]
    with ThreadPoolExecutor(2) as builders:
        one = builders.submit(run, cwd=folders[0])
        options = [f"--python={python}" for python in reversed(PYTHONS)]
        another = builders.submit(
            run, "--output", "lambda-streaming-layer.zip", *options, cwd=folders[1], umask=0o077
        )
    done = [one.result(), another.result()]
    if any("error sending request" in each.stderr for each in done):
        pytest.skip("needs the package index, which cannot be reached")
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    return [
        (folder / "lambda-streaming-layer.zip", each.stdout)
        for folder, each in zip(folders, done, strict=True)
    ]


@pytest.fixture(scope="module")
def layer(builds: list[tuple[Path, str]]) -> Path:
    """The layer with the default options."""
    return builds[0][0]


@pytest.fixture(scope="module")
def opt(layer: Path) -> Path:
    """The layer, unpacked as Lambda unpacks layers into `/opt`."""
    folder = layer.with_name("opt")
    unpack(layer, folder)
    return folder


def test_two_builds_are_the_same_byte_for_byte(builds: list[tuple[Path, str]]) -> None:
    """At the same time, in other folders, under other umasks, with the options in another order."""
    one, another = (path.read_bytes() for path, _ in builds)
    assert one == another
    assert all(f"sha256 {sha256(one).hexdigest()}" in said for _, said in builds)
    assert [path.name for path in builds[0][0].parent.glob("*.zip*")] == ["lambda-streaming-layer.zip"]


def test_the_compiled_modules_of_every_runtime_and_cpu_are_in_it(layer: Path) -> None:
    """Each for its own Python version and CPU, next to one copy of everything else."""
    with zipfile.ZipFile(layer) as archive:
        names = archive.namelist()
    expected = {
        f"python/{module}.cpython-{python.replace('.', '')}-{machine}-linux-gnu.so"
        for module in ("msgspec/_core", "runtime_client", "simplejson/_speedups")
        for python in PYTHONS
        for machine in ("x86_64", "aarch64")
    }
    assert {name for name in names if name.endswith(".so")} == expected
    assert len(names) == len(set(names))


def test_nothing_is_in_it_that_lambda_does_not_run(layer: Path) -> None:
    """No emulator, no builder, no tests; the licences of what it contains are."""
    with zipfile.ZipFile(layer) as archive:
        names = set(archive.namelist())
    unwanted = re.compile(
        r"lambda_streaming/(emulator|layer|packaging)/|/tests?/|\.pyi$|/RECORD$|uvicorn|typer"
    )
    assert [name for name in names if unwanted.search(name)] == []
    assert {name.split("/")[0] for name in names} == {"python"}
    infos = {name.split("/")[1] for name in names if ".dist-info/" in name}
    locked = re.findall(r"^([a-z0-9-]+)==", LOCK.read_text(), re.MULTILINE)
    assert {info.partition("-")[0].replace("_", "-") for info in infos} == set(locked)


def test_it_is_within_the_limits_of_lambda(layer: Path) -> None:
    """That of a direct upload, and unzipped it leaves most of the space to the function."""
    with zipfile.ZipFile(layer) as archive:
        unzipped = sum(entry.file_size for entry in archive.infolist())
    assert layer.stat().st_size <= MOST_ZIPPED
    assert unzipped <= MOST_UNZIPPED / 2


def test_the_lock_has_what_the_package_requires() -> None:
    """And whatever that requires: `make lock` writes it."""
    project = tomllib.loads((LAMBDA_STREAMING / "pyproject.toml").read_text())["project"]
    required = {re.split(r"[^a-z0-9-]", each)[0] for each in project["dependencies"]}
    entries = re.split(r"^(?=[a-z])", LOCK.read_text(), flags=re.MULTILINE)
    direct = {entry.partition("==")[0] for entry in entries if "#   lambda-streaming (" in entry}
    assert direct == required


def test_the_exec_wrapper_is_executable_and_where_the_output_says(layer: Path) -> None:
    """Everything else is only readable, by everyone; no file has a time of its own."""
    with zipfile.ZipFile(layer) as archive:
        modes = {f"{OPT}/{entry.filename}": entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
        times = {entry.date_time for entry in archive.infolist()}
    assert {name for name, mode in modes.items() if mode == 0o755} == {EXEC_WRAPPER}
    assert set(modes.values()) == {0o755, 0o644}
    assert times == {(1980, 1, 1, 0, 0, 0)}


def test_byte_code_has_the_paths_of_lambda_and_not_of_this_machine(opt: Path) -> None:
    """Only then it is the same on every machine."""
    (compiled,) = (opt / "python" / "msgspec" / "__pycache__").glob(
        f"json.cpython-{PYTHON.replace('.', '')}.pyc"
    )
    assert b"/opt/python/msgspec/json.py" in compiled.read_bytes()
    assert str(opt.parent).encode() not in compiled.read_bytes()


def test_the_output_tells_sizes_and_the_next_steps(builds: list[tuple[Path, str]]) -> None:
    """The command that publishes the layer, the variable, and the invoke mode."""
    _, said = builds[0]
    for component in ("awslambdaric", "msgspec", "lambda-streaming", "together"):
        assert re.search(rf"^{component} +[\d.]+ MB +[\d.]+ MB$", said, re.MULTILINE), said
    assert "aws lambda publish-layer-version" in said
    assert f"AWS_LAMBDA_EXEC_WRAPPER={EXEC_WRAPPER}" in said
    assert "RESPONSE_STREAM" in said


@contextmanager
def function_with_layer(folder: Path, opt: Path, *variables: str) -> Iterator[Emulating]:
    """Serve `task/main.app` in a Python that has only its standard library, the layer and that folder."""
    wrapper = opt / Path(EXEC_WRAPPER).relative_to(OPT)
    task = folder / "task"
    task.mkdir(exist_ok=True)
    (task / "main.py").write_text(APP)
    environment = ["_HANDLER=main.app", f"LAMBDA_TASK_ROOT={task}", *variables]
    patient = ("--init-timeout", str(PATIENCE_S), "--timeout", str(PATIENCE_S))
    # Without site-packages (-S), as those of this environment have our package.
    command = (
        "env",
        *(() if variables else ("-u", "PYTHONPATH")),
        str(wrapper),
        sys.executable,
        "-S",
        BOOTSTRAP,
    )
    with emulating(folder, *(f"--env={each}" for each in environment), *patient, "--", *command) as emulator:
        yield emulator


def origins_in(emulator: Emulating) -> dict[str, Path]:
    """Where the function's modules come from."""
    response = httpx.get(emulator.url, timeout=PATIENCE_S)
    assert response.status_code == 200, emulator.log()
    found: dict[str, str] = json.loads(response.text.splitlines()[0])
    return {name: Path(file) for name, file in found.items()}


def test_a_function_without_anything_of_ours_streams_with_the_layer(opt: Path, tmp_path: Path) -> None:
    """Its first chunk arrives before the second is written, and all of ours comes from the layer."""
    gate = tmp_path / "gate"
    gate.touch()
    with (
        function_with_layer(tmp_path, opt) as emulator,
        httpx.stream("GET", emulator.url, timeout=PATIENCE_S) as response,
    ):
        lines = response.iter_lines()
        origins: dict[str, str] = json.loads(next(lines))
        assert all(Path(file).is_relative_to(opt / "python") for file in origins.values()), origins
        gate.unlink()
        assert list(lines) == ["the end"]


def test_the_functions_own_packages_win_over_the_layers(opt: Path, tmp_path: Path) -> None:
    """As for every layer: its msgspec, and with its own copy of ours the whole runtime."""
    task = tmp_path / "task"
    shutil.copytree(opt / "python" / "msgspec", task / "msgspec")
    with function_with_layer(tmp_path, opt) as emulator:
        origins = origins_in(emulator)
    assert {name for name, file in origins.items() if file.is_relative_to(task)} == {"msgspec"}
    shutil.copytree(opt / "python", task, dirs_exist_ok=True)
    (task / "lambda_streaming" / "exec-wrapper").chmod(0o644)  # as zips from Windows have it
    with function_with_layer(tmp_path, opt) as emulator:
        origins = origins_in(emulator)
    assert {name for name, file in origins.items() if not file.is_relative_to(task)} == set()


def test_the_layer_wins_over_the_runtimes_own_client_where_pythonpath_is_set(
    opt: Path, tmp_path: Path
) -> None:
    """Lambda leaves `/opt/python` out then; an older runtime client that Lambda includes must not be used."""
    built_in = tmp_path / "built-in" / "awslambdaric"
    built_in.mkdir(parents=True)
    (built_in / "__init__.py").write_text("raise RuntimeError('the one that Lambda includes')\n")
    with function_with_layer(tmp_path, opt, f"PYTHONPATH={built_in.parent}") as emulator:
        assert origins_in(emulator)["awslambdaric"].is_relative_to(opt)


def test_a_layer_for_one_target_is_smaller(layer: Path, tmp_path: Path) -> None:
    """And it has no compiled module for another."""
    done = run("--architecture", "arm64", "--python", "3.14", "--byte-code", "never", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / layer.name) as archive:
        names = archive.namelist()
    assert {re.sub(r".*\.cpython-", "", name) for name in names if name.endswith(".so")} == {
        "314-aarch64-linux-gnu.so"
    }
    assert not any(name.endswith(".pyc") for name in names)
    assert "--compatible-runtimes python3.14 --compatible-architectures arm64\n" in done.stdout
    assert "Without byte code: each cold start compiles" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--output", "nowhere/layer.zip"], "The folder nowhere for layer.zip does not exist."),
        (["--architecture", "amd64"], "invalid Cpu value: 'amd64'"),
        (["--python", "3.10"], "invalid choice: '3.10'"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(
    arguments: list[str], problem: str, tmp_path: Path
) -> None:
    """Before anything is fetched."""
    refused = run(*arguments, cwd=tmp_path)
    assert refused.returncode in {1, 2}
    assert problem in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_uv_the_remedy_is_named(tmp_path: Path) -> None:
    """It is neither a module nor on the PATH."""
    program = (
        "import sys; sys.modules['uv'] = None; sys.argv = ['layer']\n"
        "import importlib.util; importlib.util.find_spec = lambda name: None\n"
        "from lambda_streaming.layer.__main__ import main; main()"
    )
    refused = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        "uv, which installs the dependencies, is missing: pip install uv"
    )
