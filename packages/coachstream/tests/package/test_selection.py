"""Stray files in a checkout are neither packaged nor published."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from coachstream.package.selection import of_ours
from support.dockerfile import Ignored
from support.places import ROOT

STRAY = (
    "coachstream/server.pem",
    "coachstream/identity/key.PEM",
    "coachstream/conversations.db",
    "coachstream/conversations.db-wal",
    "coachstream/services.py~",
    "coachstream/services.py.orig",
    "coachstream/.env",
    "coachstream/.#services.py",
    "coachstream/web/#sse.py#",
    "coachstream/functions/credentials.json",
    "coachstream/package/other.lock",
    "coachstream/local/page/js/.env.js",
    "coachstream/local/page/notes.html",
    "coachstream/local/demo/dump.sql",
    "lambda_streaming/id_rsa",
    "lambda_streaming/exec-wrapper.bak",
    "lambda_streaming/emulator/trace.log",
)
LIST_OURS = (
    "from coachstream.package.selection import of_ours;"
    "print(*sorted(name for name, _ in of_ours()), sep='\\n')"
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the parts of this checkout that a package is built from."""
    folder = tmp_path / "checkout"
    ignore = shutil.ignore_patterns("__pycache__", "tests")
    shutil.copytree(ROOT / "packages", folder / "packages", ignore=ignore, symlinks=True)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copy(ROOT / ".gitignore", folder / ".gitignore")
    return folder


def source_of(name: str) -> str:
    """The path in a checkout of one of our modules or files, by its path in the package."""
    package = name.partition("/")[0].replace("_", "-")
    return f"packages/{package}/src/{name}"


@pytest.fixture
def littered(checkout: Path) -> Path:
    """A checkout with stray files."""
    for name in STRAY:
        (checkout / source_of(name)).write_text("secret")
    return checkout


def packaged_of(checkout: Path) -> subprocess.CompletedProcess[str]:
    """The names that `coachstream package` would select from a checkout's own files."""
    path = os.pathsep.join(map(str, sorted(checkout.glob("packages/*/src"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", LIST_OURS]
    return subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)


def test_stray_files_are_not_packaged(littered: Path) -> None:
    """Despite keys, databases and editor backups, the package equals that of a clean checkout."""
    packaged = packaged_of(littered)
    assert packaged.returncode == 0, packaged.stderr
    names = packaged.stdout.split()
    assert names == sorted(name for name, _ in of_ours())
    assert "lambda_streaming/exec-wrapper" in names
    assert "coachstream/py.typed" in names
    assert not {name for name in names if "/cli/" in name or name.endswith("resource.py")}


@pytest.mark.parametrize(
    "link", ["coachstream/passwd.py", "coachstream/web/extra", "lambda_streaming/notes.txt"]
)
def test_a_link_is_refused(checkout: Path, tmp_path: Path, link: str) -> None:
    """Links to files and folders are reported by name: their targets may not be ours."""
    target = tmp_path / "elsewhere"
    target.mkdir()
    (checkout / source_of(link)).symlink_to("/etc/passwd" if "." in link else target)
    refused = packaged_of(checkout)
    assert refused.returncode != 0
    assert f"PackageError: {checkout / source_of(link)} is a symbolic link." in refused.stderr.replace(
        "lambda_streaming.packaging.errors.", ""
    )


def copied_by_docker(checkout: Path) -> set[str]:
    """Our files in the Dockerfile's build context, by their paths in the image."""
    ignored = Ignored(ROOT / "deploy" / "container" / "Dockerfile.dockerignore")
    below = (path.relative_to(checkout).as_posix() for path in checkout.rglob("*") if path.is_file())
    return {name.partition("/src/")[2] or name for name in below if not ignored(name)}


def test_stray_files_are_not_copied_into_the_image(littered: Path) -> None:
    """The image has the package's files and the lock files for its dependencies."""
    locks = {"requirements/install.lock", "coachstream/package/lambda.lock"}
    assert copied_by_docker(littered) - locks == {name for name, _ in of_ours()}
    assert locks <= copied_by_docker(littered)


def names_in(archive: Path) -> Iterator[str]:
    """The names in a wheel, or below `src` in a source distribution."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from (name for name in wheel.namelist() if ".dist-info/" not in name)
    else:
        with tarfile.open(archive) as source:
            for member in source.getmembers():
                _, _, name = member.name.partition("/")
                if name.startswith("src/"):
                    yield name.removeprefix("src/")


@pytest.mark.parametrize("package", ["lambda-streaming", "coachstream"])
@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_stray_files_are_not_published(littered: Path, tmp_path: Path, package: str, target: str) -> None:
    """No file is missing either: the distribution matches the repository."""
    build = (sys.executable, "-m", "hatchling", "build", "--target", target, "--directory")
    subprocess.run(
        [*build, str(tmp_path / "dist")], cwd=littered / "packages" / package, check=True, capture_output=True
    )
    (archive,) = (tmp_path / "dist").iterdir()
    source = f"packages/{package}/src/"
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", source],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert set(names_in(archive)) == {name.removeprefix(source) for name in tracked.stdout.split()}
