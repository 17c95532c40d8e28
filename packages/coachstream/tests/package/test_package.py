"""The package for Lambda: its contents, and that builds are reproducible."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from typer.testing import CliRunner

from coachstream.cli.app import app as cli
from coachstream.infrastructure.target import ARCHITECTURE, PYTHON
from lambda_streaming.packaging.target import Cpu, Target, this_machine
from support.lambda_package import run_package, said_of
from support.patience import PATIENCE_S

MOST_BYTES = 25_000_000

SHOWS_ZONES = """
import sys
from coachstream.time_zone import zone_named
print([str(zone_named(name)) for name in sys.argv[1:]])
"""

#: Loads each client of the SDK and each library that a function may use, from the package alone.
LOADS_ALL = """
import asyncio, json, sys
import aiobotocore.session, aws_lambda_powertools, jwt, msgspec, pinecone
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider
from cryptography.hazmat.primitives.asymmetric import rsa

async def main():
    session = aiobotocore.session.get_session()
    for service in ("bedrock-runtime", "dynamodb", "lambda", "secretsmanager", "sts"):
        async with session.create_client(service, region_name="eu-central-1") as client:
            assert client.meta.endpoint_url.startswith("https://"), service

asyncio.run(main())
import coachstream.functions.stream_coach_conversation.handler
import coachstream.functions.send_coach_conversation_message.handler
import coachstream.functions.coach_conversations.handler
import lambda_streaming.managed_runtime
files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
print(json.dumps([file for file in files if "site-packages" in file]))
"""


def names_in(package: Path) -> set[str]:
    with zipfile.ZipFile(package) as archive:
        return set(archive.namelist())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_concurrent_builds_are_identical_and_independent(lambda_package: Path) -> None:
    """In different folders with different umasks, both report the same hash and leave nothing else."""
    made = f"sha256 {sha256(lambda_package)}"
    assert [made in said for said in said_of(lambda_package)] == [True, True]
    assert set(lambda_package.parent.iterdir()) == {lambda_package, lambda_package.with_name("task")}


def test_the_package_for_lambda_is_small_and_tells_its_size_by_component(tmp_path: Path) -> None:
    """It uses wheels for the deployed runtime and CPU, whatever machine builds it."""
    output = tmp_path / "lambda.zip"
    said = run_package("--output", "lambda.zip", cwd=tmp_path, umask=0o077)
    assert output.stat().st_size < MOST_BYTES
    assert output.stat().st_mode & 0o777 == 0o644 & ~0o077
    assert f"for Python {PYTHON} on {ARCHITECTURE}" in said
    for component in ("botocore", "cryptography", "pinecone", "coachstream", "together"):
        assert re.search(rf"{component} +[\d.]+ MB +[\d.]+ MB", said), component
    assert re.search(r"in the zip\s+cryptography ", said)  # the largest first
    libraries = {name for name in names_in(output) if name.endswith(".so")}
    assert libraries
    foreign = {name for name in libraries if "x86_64" in name}
    assert foreign == set()
    assert any("aarch64" in name for name in libraries)


def test_only_what_runs_on_lambda_is_in_it(lambda_package: Path) -> None:
    """No tests, stubs, programs or installer metadata, and none of our modules for local use."""
    names = names_in(lambda_package)
    unwanted = re.compile(
        r"(^|/)\.|(^|/)tests?/|^bin/|\.pyi$|/RECORD$|/INSTALLER$|direct_url|(^|/)resource\.py$"
        r"|^coachstream/(cli|check|deployment|local|infrastructure|package)/|^lambda_streaming/emulator/|^(aws_cdk|uv|typer)/"
    )
    assert [name for name in names if unwanted.search(name)] == []
    described = {name.split("/")[2] for name in names if re.match(r"botocore/data/[^/]+/", name)}
    assert described == {"bedrock-runtime", "dynamodb", "lambda", "secretsmanager", "sts"}
    assert {"botocore/data/endpoints.json", "botocore/data/partitions.json"} <= names
    assert "botocore/cacert.pem" in names


def test_a_package_says_what_it_is_for(lambda_package: Path) -> None:
    """This prevents its deployment to another runtime or CPU."""
    with zipfile.ZipFile(lambda_package) as archive:
        target = json.loads(archive.read("coachstream-package.json"))
    assert target == {"python": this_machine().python, "cpu": this_machine().cpu}


def test_every_licence_and_version_is_included(lambda_package: Path) -> None:
    """Distribution satisfies the licences of all components, and their versions can be inspected."""
    names = names_in(lambda_package)
    dist_infos = {name.split("/")[0] for name in names if ".dist-info/" in name}
    assert len(dist_infos) > 20
    assert all(f"{info}/METADATA" in names for info in dist_infos)
    assert "botocore" in {info.partition("-")[0] for info in dist_infos}


def test_files_have_the_modes_that_lambda_needs(lambda_package: Path) -> None:
    """All files are readable by everyone; only the wrapper is executable."""
    with zipfile.ZipFile(lambda_package) as archive:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
        times = {entry.date_time for entry in archive.infolist()}
    assert modes["lambda_streaming/exec-wrapper"] == 0o755
    assert {mode for name, mode in modes.items() if name.endswith((".py", ".so"))} == {0o644}
    assert times == {(1980, 1, 1, 0, 0, 0)}


def test_byte_code_is_there_and_used_without_looking_at_the_source(lambda_package: Path) -> None:
    """Only if the machine has the target's Python; it contains the file names used on Lambda."""
    names = names_in(lambda_package)
    modules = {name for name in names if re.match(r"coachstream/.*\.py$", name)}
    compiled = {name for name in names if name.startswith("coachstream/") and name.endswith(".pyc")}
    assert len(compiled) == len(modules)
    task = lambda_package.parent / "task"
    handler = task / "coachstream" / "functions" / "stream_coach_conversation" / "handler.py"
    byte_code = Path(cache_from_source(str(handler))).read_bytes()
    unchecked_hash = 0b01
    assert int.from_bytes(byte_code[4:8], "little") == unchecked_hash
    assert b"/var/task/coachstream/functions/stream_coach_conversation/handler.py" in byte_code
    assert str(task).encode() not in byte_code


def test_everything_that_is_imported_comes_from_the_package(lambda_package: Path) -> None:
    """All clients, libraries and handlers load from it alone, without this checkout or its environment."""
    run = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", LOADS_ALL],
        cwd=lambda_package.parent / "task",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(lambda_package.parent / "task")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == []


def test_every_time_zone_is_in_the_package(lambda_package: Path) -> None:
    """On a system without a database of them, and with a name that is not one."""
    names = ["America/Los_Angeles", "Asia/Kolkata", "Etc/Unknown", "UTC"]
    run = subprocess.run(
        [sys.executable, "-S", "-c", SHOWS_ZONES, *names],
        cwd=lambda_package.parent / "task",
        env={"PYTHONPATH": str(lambda_package.parent / "task"), "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(["America/Los_Angeles", "Asia/Kolkata", "None", "UTC"])


def test_a_package_that_is_too_large_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The previous package stays, and the error says which components are the largest."""

    def install(lock: Path, target: Target, folder: Path) -> Mapping[str, str]:  # noqa: ARG001 (the same for all)
        # Large enough, and incompressible.
        (folder / "cryptography").mkdir(parents=True)
        (folder / "cryptography" / "_rust.so").write_bytes(os.urandom(1_100_000))
        return {"cryptography/_rust.so": "cryptography"}

    monkeypatch.setattr("coachstream.package.build.install", install)
    output = tmp_path / "coachstream.zip"
    output.write_bytes(b"the last one")
    refused = CliRunner().invoke(
        cli, ["package", "--output", str(output), "--most-mb", "1", "--byte-code", "never"]
    )
    assert refused.exit_code == 1
    assert re.search(r"The package is [\d.]+ MB, more than 1 MB\. The largest: cryptography", refused.stderr)
    assert output.read_bytes() == b"the last one"
    assert list(tmp_path.iterdir()) == [output]


def test_an_unavailable_dependency_is_reported_with_uvs_message(tmp_path: Path) -> None:
    """No package, not even a partial one, is written."""
    refused = subprocess.run(
        [sys.executable, "-m", "coachstream.cli", "package", "--python", "3.8", "--output", "p.zip"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert refused.returncode == 1
    assert "uv could not install the dependencies for Python 3.8 on arm64" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_python_patch_version_is_not_a_runtime(tmp_path: Path) -> None:
    """A version that Lambda does not have is refused before anything is written."""
    refused = subprocess.run(
        [sys.executable, "-m", "coachstream.cli", "package", "--python", "3.14.1", "--output", "p.zip"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert refused.stderr == "3.14.1 is not a Python version like 3.14.\n"
    assert list(tmp_path.iterdir()) == []


def test_targets_are_named_as_uv_names_them() -> None:
    """The C library of Amazon Linux 2023, on either CPU; for Python 3.11, that of Amazon Linux 2."""
    assert Target("3.14", Cpu.ARM64).platform == "aarch64-manylinux_2_34"
    assert Target("3.13", Cpu.X86_64).platform == "x86_64-manylinux_2_34"
    assert Target("3.11", Cpu.X86_64).platform == "x86_64-manylinux_2_17"
    assert this_machine().is_this_interpreter
