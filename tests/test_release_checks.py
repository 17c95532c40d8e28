"""Each problem that `make dist` can find in artifacts is provoked, and is reported in one sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from release.__main__ import main
from release.build import NPM_PACKAGE, PYTHON_PACKAGES
from release.checks import (
    Archive,
    check_changelog,
    check_links,
    check_metadata,
    check_npm,
    check_rebuilt,
    check_sdist,
    check_versions,
    check_wheel,
    metadata_of,
)
from support.artifacts import dist, wheel
from support.places import LAMBDA_STREAMING, ROOT

__all__ = ["dist"]

pytestmark = pytest.mark.peer

CLIENT = "coachstream/local/page/js/coachstream.js"
VERSIONS = dict.fromkeys((*PYTHON_PACKAGES, NPM_PACKAGE), "0.3.1")
REQUIRED = Requirement("lambda-streaming[emulator]>=0.3,<0.4")


def wheel_of(dist: Path, name: str) -> Archive:
    path = wheel(dist, name.replace("-", "_"))
    return Archive.of_wheel(path.name, path.read_bytes())


def sdist_of(dist: Path, name: str) -> Archive:
    (path,) = dist.glob(f"{name.replace('-', '_')}-*.tar.gz")
    return Archive.of_tarball(path)


def without(archive: Archive, path: str) -> Archive:
    return replace(archive, files={name: data for name, data in archive.files.items() if name != path})


def having(archive: Archive, path: str, content: bytes) -> Archive:
    return replace(archive, files={**archive.files, path: content})


@pytest.mark.parametrize("name", PYTHON_PACKAGES)
def test_what_is_built_has_no_problem(dist: Path, name: str) -> None:
    """The checks pass on this checkout."""
    folder = ROOT / "packages" / name
    built = wheel_of(dist, name)
    assert list(check_wheel(built, folder)) == []
    assert list(check_metadata(metadata_of(built), folder)) == []
    assert list(check_sdist(sdist_of(dist, name), folder)) == []


def test_a_wheel_that_lacks_something_is_reported(dist: Path) -> None:
    """This covers the type marker, the licence, a source file and the wrapper's executable bit."""
    built = wheel_of(dist, "lambda-streaming")
    licence = next(path for path in built.files if path.endswith("licenses/LICENSE"))
    wrapper = "lambda_streaming/exec-wrapper"
    for broken, named in (
        (without(built, "lambda_streaming/py.typed"), "py.typed"),
        (without(built, licence), "LICENSE"),
        (without(built, "lambda_streaming/runtime.py"), "does not hold lambda_streaming/runtime.py"),
        (replace(built, executable=frozenset()), f"{wrapper}, which is not executable"),
    ):
        assert any(named in problem for problem in check_wheel(broken, LAMBDA_STREAMING)), named


def test_a_link_or_old_copy_of_the_client_is_reported(dist: Path) -> None:
    """In the checkout, the client's files are symbolic links to the npm package."""
    folder = ROOT / "packages" / "coachstream"
    built = wheel_of(dist, "coachstream")
    linked = replace(without(built, CLIENT), links=(CLIENT,))
    assert any(f"holds {CLIENT} as a link" in problem for problem in check_wheel(linked, folder))
    old = having(built, CLIENT, b"// of last year")
    (problem,) = check_wheel(old, folder)
    assert problem.endswith(f"holds other contents than the sources in {CLIENT}.")
    sdist = sdist_of(dist, "coachstream")
    linked = replace(without(sdist, f"src/{CLIENT}"), links=(f"src/{CLIENT}",))
    assert any("as a link" in problem for problem in check_sdist(linked, folder))


def test_a_file_that_is_not_published_is_reported(dist: Path) -> None:
    """Files next to the sources in a checkout must not be published."""
    built = having(wheel_of(dist, "lambda-streaming"), "lambda_streaming/.env", b"SECRET=1")
    assert any(
        "lambda_streaming/.env, which is not in" in each for each in check_wheel(built, LAMBDA_STREAMING)
    )
    sdist = having(sdist_of(dist, "lambda-streaming"), "tests/test_runtime.py", b"")
    assert any("tests/test_runtime.py" in problem for problem in check_sdist(sdist, LAMBDA_STREAMING))


def test_a_source_distribution_that_builds_another_wheel_is_reported(dist: Path) -> None:
    """Some installers build from source instead of using the wheel."""
    built = wheel_of(dist, "lambda-streaming")
    (problem,) = check_rebuilt(built, without(built, "lambda_streaming/exec-wrapper"))
    assert problem.endswith("differ in lambda_streaming/exec-wrapper.")


def test_metadata_that_an_index_cannot_use_is_reported(dist: Path) -> None:
    """The version must be that of pyproject.toml, and every address must use https."""
    metadata = metadata_of(wheel_of(dist, "lambda-streaming"))
    metadata.replace_header("Version", "9.9")
    metadata["Project-URL"] = "Source, git@example.com:us/it.git"
    version, url = check_metadata(metadata, LAMBDA_STREAMING)
    assert "says Version: 9.9" in version
    assert "the project URL Source, which is not an https address" in url


@pytest.mark.parametrize("link", ["[a](docs/a.md)", "[a][1]\n\n[1]: ../b.md", '<img src="chat.png">'])
def test_a_relative_link_in_a_readme_is_reported(link: str) -> None:
    """A package index shows the README without the files around it."""
    (problem,) = check_links("The README", f"Text.\n\n{link}\n")
    assert "is not absolute" in problem
    assert list(check_links("The README", "[a](https://example.com/a.md) [b](#b)")) == []


def test_packages_of_different_minor_versions_are_reported() -> None:
    """So is a coachstream that requires another lambda-streaming than the one next to it."""
    assert list(check_versions(VERSIONS, REQUIRED)) == []
    assert list(check_versions({**VERSIONS, NPM_PACKAGE: "0.3.7"}, REQUIRED)) == []
    (minors,) = check_versions({**VERSIONS, NPM_PACKAGE: "0.4.0"}, REQUIRED)
    assert minors.startswith("The packages are not of the same minor version: lambda-streaming 0.3.1,")
    (unfulfilled,) = check_versions(VERSIONS, Requirement("lambda-streaming==0.3.0"))
    assert unfulfilled.endswith("which lambda-streaming 0.3.1 does not fulfil.")
    after, before = check_versions(VERSIONS, Requirement("lambda-streaming>=0.2,<1"))
    assert "0.2.0" in before
    assert "0.4.0" in after


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_an_npm_package_without_its_entry_point_is_reported(dist: Path) -> None:
    """So is one that publishes more than the client, its types and its documents."""
    folder = ROOT / "packages" / NPM_PACKAGE
    (path,) = (dist / "npm").glob("*.tgz")
    tarball = Archive.of_tarball(path)
    listing = frozenset(tarball.files)
    assert list(check_npm(tarball, listing, folder)) == []
    manifest = {**json.loads(tarball.files["package.json"]), "types": "./src/none.d.ts"}
    problems = list(
        check_npm(having(tarball, "package.json", json.dumps(manifest).encode()), listing, folder)
    )
    assert "package.json names ./src/none.d.ts, which the npm package does not hold." in problems
    problems = list(check_npm(without(tarball, "src/coachstream.js"), listing | {".npmrc"}, folder))
    assert "the npm package does not list src/coachstream.js." in problems
    assert "npm pack --dry-run lists .npmrc, which is not published." in problems


def test_a_release_needs_a_dated_section_in_each_changelog() -> None:
    """Before the release, entries are collected under Unreleased."""
    unreleased = "# Changelog\n\n## Unreleased\n\n### Added\n\n- A thing.\n"
    dated = "# Changelog\n\n## Unreleased\n\n## 0.3.1 - 2027-01-31\n\n- A thing.\n"
    assert list(check_changelog("it", unreleased, "0.3.1", release=False)) == []
    assert list(check_changelog("it", dated, "0.3.1", release=True)) == []
    section, entries = check_changelog("it", unreleased, "0.3.1", release=True)
    assert section == "it's CHANGELOG.md has no section '## 0.3.1 - YYYY-MM-DD'."
    assert entries == "it's CHANGELOG.md still has entries under Unreleased."
    assert len(list(check_changelog("it", dated, "0.3.2", release=True))) == 1


def test_make_dist_prints_what_it_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It lists the artifacts on standard output, exits with 0 and removes earlier versions."""
    old = tmp_path / "dist" / "coachstream-0.0.1.tar.gz"
    old.parent.mkdir()
    old.touch()
    assert main(["--output", str(tmp_path / "dist")]) == 0
    shown = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path for path in (tmp_path / "dist").rglob("*") if path.is_file()} == set(shown)
    assert len(shown) == (4 if shutil.which("npm") is None else 5)
