"""Sample apps that use the drop-in, created and synthesized once for all test processes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from support.amplify import Apps, Assembly
from support.places import CACHE, CLIENT, ROOT

HERE = Path(__file__).parent
DROP_IN = ROOT / "deploy" / "amplify"
LIBRARIES = CACHE / "amplify"
FUNCTION = Path("functions", "stream-coach-conversation")
APPS = ("usual", "imported", "encrypted", "careless", "unpackaged")
"""The apps by name. The last is a copy of the one before it, without a package."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of this run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "amplify"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def apps(shared: Path) -> Apps:
    """The apps, each with a copy of the drop-in, as a user would install it, and a package."""
    if shutil.which("node") is None or not (LIBRARIES / "installed.json").exists():
        pytest.skip(f"needs Node.js and Amplify's libraries: {HERE.relative_to(ROOT)}/install.sh")
    folder = shared / "apps"
    with _once(folder) as is_first:
        if is_first:
            shutil.copytree(HERE / "apps", folder)
            shutil.copytree(folder / "careless", folder / "unpackaged")
            for app in APPS:
                function = folder / app / "amplify" / FUNCTION
                shutil.copytree(DROP_IN / FUNCTION, function)
                if app != "unpackaged":
                    # A template does not depend on the package's contents.
                    (function / "coachstream.zip").write_bytes(b"a package")
            (folder / "node_modules").symlink_to(LIBRARIES / "node_modules")
            (folder / "package.json").write_text(json.dumps({"type": "module"}))
            for program in HERE.glob("*.mjs"):
                shutil.copy(program, folder)
            for name in ("coachstream.js", "coachstream.d.ts"):
                shutil.copy(CLIENT / name, folder / "usual" / "src")
            options = {
                "extends": str(DROP_IN / "tsconfig.json"),
                "compilerOptions": {"resolveJsonModule": True},
                "include": ["*/amplify", "*/src"],
                "exclude": ["node_modules", "unpackaged"],
            }
            (folder / "tsconfig.json").write_text(json.dumps(options))
    return Apps(folder, LIBRARIES)


@pytest.fixture(scope="session")
def assemblies(apps: Apps, shared: Path) -> Path:
    """A folder for each app, with its assembly or its refusal."""
    folder = shared / "assemblies"
    with _once(folder) as is_first:
        if is_first:
            # One process for all: loading Amplify's libraries takes longer than synthesizing a backend.
            run = apps.synthesize({app: folder / app for app in APPS})
            assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="session")
def assembly_of(assemblies: Path) -> Callable[[str], Assembly]:
    """An app's assembly, by the app's name."""

    def assembly_of(app: str) -> Assembly:
        refused = assemblies / app / "refused.txt"
        assert not refused.exists(), refused.read_text()
        return Assembly.read(assemblies / app)

    return assembly_of


@pytest.fixture(scope="session")
def refusal_of(assemblies: Path) -> Callable[[str], str]:
    """The error that refuses an app, by the app's name."""
    return lambda app: (assemblies / app / "refused.txt").read_text()


@contextmanager
def _once(made: Path) -> Iterator[bool]:
    """Serialize processes; yield whether this is the first one, which must create the folder."""
    done = made.with_suffix(".done")
    with FileLock(made.with_suffix(".lock")):
        yield not done.exists()
        done.touch()
