"""Builds the packages with npm, and with the locked hatchling instead of one from an isolated environment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

#: The packages on PyPI, in the order in which they must be published.
PYTHON_PACKAGES = ("lambda-streaming", "coachstream")
NPM_PACKAGE = "coachstream-js"


class BuildFailed(Exception):
    """Raised when a build tool fails; the message names the package and contains the tool's output."""


@dataclass(frozen=True)
class PythonBuild:
    """The build results of one package for PyPI.

    Attributes:
        rebuilt_wheel: the wheel that an installer builds from the source distribution.
    """

    wheel: Path
    sdist: Path
    rebuilt_wheel: bytes


@dataclass(frozen=True)
class Build:
    """All build results.

    Attributes:
        python: the results by package name.
        npm_tarball: None if npm is not installed.
        npm_listing: the paths that `npm pack --dry-run` lists.
    """

    python: dict[str, PythonBuild]
    npm_tarball: Path | None = None
    npm_listing: frozenset[str] = field(default_factory=frozenset)

    def artifacts(self) -> list[Path]:
        """The files to publish."""
        files = [path for each in self.python.values() for path in (each.wheel, each.sdist)]
        return [*files, *([self.npm_tarball] if self.npm_tarball else [])]


def build(root: Path, output: Path) -> Build:
    """Build every package of the workspace.

    Args:
        root: the checkout.
        output: receives the wheels and source distributions, and the npm package in its folder `npm`, which
            hides it from `twine upload` and `--find-links`. Earlier artifacts are removed.

    Raises:
        BuildFailed: a build tool failed.
    """
    for old in [*output.glob("*.whl"), *output.glob("*.tar.gz"), *output.glob("npm/*.tgz")]:
        old.unlink()
    python = {name: _build_python(root / "packages" / name, output) for name in PYTHON_PACKAGES}
    npm = shutil.which("npm")
    if npm is None:
        return Build(python)
    folder = root / "packages" / NPM_PACKAGE
    (output / "npm").mkdir(exist_ok=True)
    pack = [npm, "pack", "--json", "--ignore-scripts", "--pack-destination", str(output / "npm")]
    (packed,) = json.loads(_run(pack, folder))
    (listed,) = json.loads(_run([*pack, "--dry-run"], folder))
    return Build(
        python, output / "npm" / packed["filename"], frozenset(file["path"] for file in listed["files"])
    )


def _build_python(folder: Path, output: Path) -> PythonBuild:
    _hatchling(folder, output, "sdist", "wheel")
    stem = folder.name.replace("-", "_")
    (sdist,) = output.glob(f"{stem}-*.tar.gz")
    (wheel,) = output.glob(f"{stem}-*.whl")
    with tempfile.TemporaryDirectory() as temporary:
        with tarfile.open(sdist) as archive:
            archive.extractall(temporary, filter="data")
        (unpacked,) = Path(temporary).iterdir()
        _hatchling(unpacked, Path(temporary), "wheel")
        (rebuilt,) = Path(temporary).glob("*.whl")
        return PythonBuild(wheel, sdist, rebuilt.read_bytes())


def _hatchling(folder: Path, output: Path, *targets: str) -> None:
    wanted = [word for target in targets for word in ("--target", target)]
    _run([sys.executable, "-m", "hatchling", "build", "--directory", str(output), *wanted], folder)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 (ours)
    if done.returncode:
        raise BuildFailed(f"{folder.name} could not be built: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
