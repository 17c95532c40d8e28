"""Checks artifacts before they are published. Every check yields one sentence for each problem."""

from __future__ import annotations

import email.message
import email.parser
import email.policy
import io
import json
import re
import stat
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

from release.build import NPM_PACKAGE, PYTHON_PACKAGES, Build

#: The files in a wheel that must be executable.
_EXECUTABLES = frozenset({"lambda_streaming/exec-wrapper"})
#: The files in a source distribution and the npm package next to the sources.
_SDIST_FILES = frozenset({"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"})
_NPM_FILES = frozenset({"CHANGELOG.md", "LICENSE", "README.md", "package.json"})
#: Targets of Markdown and HTML links: `[text](target)`, `[label]: target`, `href="target"`, `src="target"`.
_LINKS = re.compile(r"""\]\(\s*<?([^)\s>]+)|^\[[^\]]+\]:\s*(\S+)|(?:href|src)=["']([^"']+)""", re.MULTILINE)
_ABSOLUTE = ("https://", "#", "mailto:")


@dataclass(frozen=True)
class Archive:
    """The contents of an artifact.

    Attributes:
        files: contents by path, without the top-level folder of a source distribution or npm package.
        executable: the paths that are executable.
        links: the paths that are links and have no contents of their own.
    """

    name: str
    files: Mapping[str, bytes]
    executable: frozenset[str] = frozenset()
    links: tuple[str, ...] = ()

    @classmethod
    def of_wheel(cls, name: str, content: bytes) -> Archive:
        """Read a wheel."""
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            modes = {member.filename: member.external_attr >> 16 for member in members}
            return cls(
                name,
                {member.filename: archive.read(member) for member in members},
                frozenset(path for path, mode in modes.items() if mode & stat.S_IXUSR),
                tuple(path for path, mode in modes.items() if stat.S_ISLNK(mode)),
            )

    @classmethod
    def of_tarball(cls, path: Path) -> Archive:
        """Read a source distribution or an npm package."""
        files, links = {}, []
        with tarfile.open(path) as archive:
            for member in archive:
                _, _, inner = member.name.partition("/")
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    files[inner] = content.read()
                elif not member.isdir():
                    links.append(inner)
        return cls(path.name, files, links=tuple(links))


def check(root: Path, built: Build, *, release: bool = False) -> Iterator[str]:
    """Check everything that was built.

    Args:
        root: the checkout that it was built from.
        built: the artifacts.
        release: whether each changelog must have a dated section for the version, and nothing unreleased.
    """
    yield from _check_with_twine(built)
    versions = {}
    for name in PYTHON_PACKAGES:
        of_package = built.python[name]
        folder = root / "packages" / name
        wheel = Archive.of_wheel(of_package.wheel.name, of_package.wheel.read_bytes())
        metadata = metadata_of(wheel)
        versions[name] = str(metadata["Version"])
        yield from check_wheel(wheel, folder)
        yield from check_metadata(metadata, folder)
        yield from check_sdist(Archive.of_tarball(of_package.sdist), folder)
        yield from check_rebuilt(wheel, Archive.of_wheel(wheel.name, of_package.rebuilt_wheel))
    folder = root / "packages" / NPM_PACKAGE
    manifest = json.loads((folder / "package.json").read_text())
    versions[NPM_PACKAGE] = manifest["version"]
    if built.npm_tarball is not None:
        yield from check_npm(Archive.of_tarball(built.npm_tarball), built.npm_listing, folder)
    yield from check_versions(versions, _requirement(built))
    for name, version in versions.items():
        changelog = (root / "packages" / name / "CHANGELOG.md").read_text()
        yield from check_changelog(name, changelog, version, release=release)


def metadata_of(wheel: Archive) -> email.message.EmailMessage:
    """The core metadata of a wheel, whose body is the README."""
    (path,) = (path for path in wheel.files if path.endswith(".dist-info/METADATA"))
    parser = email.parser.BytesParser(policy=email.policy.default.clone(utf8=True))
    return parser.parsebytes(wheel.files[path])


def project_urls(built: Build) -> dict[str, list[str]]:
    """The project URLs of each package on PyPI, in the form of the wheel's metadata: `Label, URL`."""
    archives = {name: each.wheel for name, each in built.python.items()}
    return {
        name: metadata_of(Archive.of_wheel(path.name, path.read_bytes())).get_all("Project-URL", [])
        for name, path in archives.items()
    }


def check_wheel(wheel: Archive, folder: Path) -> Iterator[str]:
    """A wheel contains all sources and nothing else, the type marker and the licence."""
    module = folder.name.replace("-", "_")
    if f"{module}/py.typed" not in wheel.files:
        yield f"{wheel.name} has no {module}/py.typed, so type checkers ignore its types."
    licences = [content for path, content in wheel.files.items() if path.endswith("licenses/LICENSE")]
    if licences != [(folder / "LICENSE").read_bytes()]:
        yield f"{wheel.name} does not hold the package's LICENSE."
    for path in wheel.links:
        yield f"{wheel.name} holds {path} as a link, which leads nowhere once it is installed."
    content = {path: data for path, data in wheel.files.items() if ".dist-info/" not in path}
    yield from _check_sources(wheel.name, content, _sources(folder / "src"))
    for path in sorted(_EXECUTABLES & content.keys() - wheel.executable):
        yield f"{wheel.name} holds {path}, which is not executable there."


def check_metadata(metadata: email.message.EmailMessage, folder: Path) -> Iterator[str]:
    """The metadata has what an index shows, with links that work there."""
    name = folder.name
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    for header, expected in (
        ("Name", name),
        ("Version", project["version"]),
        ("Requires-Python", project["requires-python"]),
        ("License-Expression", project["license"]),
        ("Description-Content-Type", "text/markdown"),
    ):
        if metadata[header] != expected:
            yield f"{name} says {header}: {metadata[header]} in its wheel, and should say {expected}."
    for url in metadata.get_all("Project-URL", []):
        label, _, target = url.partition(", ")
        if not target.startswith("https://"):
            yield f"{name} has the project URL {label}, which is not an https address: {target}."
    yield from check_links(f"{name}'s README", str(metadata.get_payload()))


def check_links(where: str, markdown: str) -> Iterator[str]:
    """An index shows a README without its files, so only absolute links work there."""
    for groups in _LINKS.findall(markdown):
        target = "".join(groups)
        if not target.startswith(_ABSOLUTE):
            yield f"{where} links to {target}, which is not absolute and leads nowhere on the index."


def check_sdist(sdist: Archive, folder: Path) -> Iterator[str]:
    """A source distribution contains everything that the wheel is built from, as regular files."""
    for path in sdist.links:
        yield f"{sdist.name} holds {path} as a link, which leads nowhere once it is unpacked."
    for path in sorted(_SDIST_FILES - sdist.files.keys()):
        yield f"{sdist.name} has no {path}."
    content = {
        path.removeprefix("src/"): data for path, data in sdist.files.items() if path.startswith("src/")
    }
    yield from _check_sources(sdist.name, content, _sources(folder / "src"))
    known = _SDIST_FILES | {".gitignore"}
    for path in sorted(path for path in sdist.files if not path.startswith("src/") and path not in known):
        yield f"{sdist.name} holds {path}, which is not published."


def check_rebuilt(wheel: Archive, rebuilt: Archive) -> Iterator[str]:
    """An installer that builds the source distribution gets the wheel that is published."""
    different = {
        path for path in {*wheel.files, *rebuilt.files} if wheel.files.get(path) != rebuilt.files.get(path)
    }
    if different:
        yield f"{wheel.name} and the wheel built from its source distribution differ in {_listed(different)}."


def check_npm(tarball: Archive, listing: frozenset[str], folder: Path) -> Iterator[str]:
    """The npm package contains the client, its types and its documents, and every entry point exists."""
    manifest = json.loads(tarball.files["package.json"])
    expected = _NPM_FILES | {f"src/{path}" for path in _sources(folder / "src")}
    for where, paths in (("the npm package", frozenset(tarball.files)), ("npm pack --dry-run", listing)):
        if missing := expected - paths:
            yield f"{where} does not list {_listed(missing)}."
        if unexpected := paths - expected:
            yield f"{where} lists {_listed(unexpected)}, which is not published."
    for path in sorted(expected & tarball.files.keys()):
        if tarball.files[path] != (folder / path).read_bytes():
            yield f"{path} in the npm package is not the file of the checkout."
    for entry in sorted(_entry_points(manifest.get("exports")) | {manifest["types"]}):
        if entry.removeprefix("./") not in tarball.files:
            yield f"package.json names {entry}, which the npm package does not hold."
    for path in tarball.links:
        yield f"The npm package holds {path} as a link."
    yield from check_links("The npm package's README", tarball.files.get("README.md", b"").decode())


def check_versions(versions: Mapping[str, str], requirement: Requirement) -> Iterator[str]:
    """All packages have the same minor version, and coachstream requires lambda-streaming of that version."""
    minors = {name: Version(version).release[:2] for name, version in versions.items()}
    if len(set(minors.values())) > 1:
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield f"The packages are not of the same minor version: {listed}."
    runtime = Version(versions["lambda-streaming"])
    major, minor = runtime.release[:2]
    if not requirement.specifier.contains(runtime, prereleases=True):
        yield f"coachstream requires {requirement}, which lambda-streaming {runtime} does not fulfil."
    for other in [f"{major}.{minor + 1}.0", *([f"{major}.{minor - 1}.0"] if minor else [])]:
        if requirement.specifier.contains(other):
            yield f"coachstream requires {requirement}, which allows {other}, another minor version."


def check_changelog(name: str, changelog: str, version: str, *, release: bool) -> Iterator[str]:
    """The changelog has a dated section for the version, or before the release an unreleased one on top."""
    sections = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    if not sections:
        yield f"{name}'s CHANGELOG.md has no sections."
        return
    dated = re.compile(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d")
    found = any(dated.fullmatch(section) for section in sections)
    if release and not found:
        yield f"{name}'s CHANGELOG.md has no section '## {version} - YYYY-MM-DD'."
    if release and "Unreleased" in sections:
        unreleased = changelog.partition("## Unreleased\n")[2].partition("\n## ")[0]
        if unreleased.strip():
            yield f"{name}'s CHANGELOG.md still has entries under Unreleased."
    if not release and not found and sections[0] != "Unreleased":
        yield f"{name}'s CHANGELOG.md has neither a section for {version} nor one that is Unreleased."


def _check_with_twine(built: Build) -> Iterator[str]:
    files = [str(path) for each in built.python.values() for path in (each.wheel, each.sdist)]
    done = subprocess.run(  # noqa: S603 (ours)
        [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())
        yield f"twine check --strict refuses the artifacts: {said}"


def _requirement(built: Build) -> Requirement:
    wheel = built.python["coachstream"].wheel
    metadata = metadata_of(Archive.of_wheel(wheel.name, wheel.read_bytes()))
    (found,) = (
        requirement
        for requirement in map(Requirement, metadata.get_all("Requires-Dist", []))
        if requirement.name == "lambda-streaming"
    )
    return found


def _sources(folder: Path) -> dict[str, bytes]:
    """The files in a source folder that are not hidden, with links followed."""
    found = {}
    for path in folder.rglob("*"):
        inner = path.relative_to(folder)
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in inner.parts):
            found[inner.as_posix()] = path.read_bytes()
    return found


def _check_sources(name: str, content: Mapping[str, bytes], sources: Mapping[str, bytes]) -> Iterator[str]:
    if missing := sources.keys() - content.keys():
        yield f"{name} does not hold {_listed(missing)}: include it in pyproject.toml, or delete it."
    if unexpected := content.keys() - sources.keys():
        yield f"{name} holds {_listed(unexpected)}, which is not in the sources."
    if different := {path for path in sources.keys() & content.keys() if sources[path] != content[path]}:
        yield f"{name} holds other contents than the sources in {_listed(different)}."


def _entry_points(exports: object) -> set[str]:
    """Every path named in the `exports` of a package.json, under any condition."""
    if isinstance(exports, str):
        return {exports}
    nested = exports.values() if isinstance(exports, dict) else ()
    return {path for each in nested for path in _entry_points(each)}


def _listed(paths: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(paths))
