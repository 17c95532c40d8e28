"""Builds a package, from its dependencies to the zip."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from coachstream.infrastructure.target import PACKAGE_TARGET, PACKAGED_KEYS
from coachstream.package.archive import sha256_of, write_archive
from coachstream.package.byte_code import compile_all, interpreter_for
from coachstream.package.errors import PackageError
from coachstream.package.installation import install
from coachstream.package.selection import of_ours, of_the_dependencies
from coachstream.package.target import Target

MEGABYTE = 1_000_000
MOST_UNZIPPED = 250 * MEGABYTE
"""Lambda's limit (Lambda developer guide, "Lambda quotas")."""


class ByteCode(StrEnum):
    """Whether a package has byte code."""

    AUTO = "auto"
    """If a Python of the target's version is installed on this machine."""
    ALWAYS = "always"
    NEVER = "never"


class Component(msgspec.Struct, frozen=True):
    """A component of a package; sizes in bytes."""

    name: str
    unzipped: int
    zipped: int


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A package that has been built.

    Attributes:
        path: the path of the zip.
        sha256: its hash, in hexadecimal.
        target: the Python and CPU that it runs on.
        has_byte_code: whether it has byte code, for faster cold starts.
        components: its components, the largest first.
    """

    path: Path
    sha256: str
    target: Target
    has_byte_code: bool
    components: tuple[Component, ...]

    @property
    def unzipped(self) -> int:
        """The total unzipped size in bytes."""
        return sum(component.unzipped for component in self.components)

    @property
    def zipped(self) -> int:
        """The size of the zip in bytes."""
        return self.path.stat().st_size


def build(
    output: Path,
    *,
    target: Target,
    most_zipped: int,
    byte_code: ByteCode = ByteCode.AUTO,
    keys: bytes | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> Package:
    """Build the package.

    Args:
        output: the path of the zip; an existing one is replaced atomically.
        target: the Python and CPU to build for.
        most_zipped: the maximum size of the zip in bytes.
        byte_code: whether to compile it.
        keys: the user pool's keys, as returned by `identity.cognito.fetch_jwks`.
        on_step: called with a short description of each step.

    Raises:
        PackageError: it cannot be built, or is too large.
        OSError: the output cannot be written.
    """
    interpreter = None if byte_code is ByteCode.NEVER else interpreter_for(target)
    if interpreter is None and byte_code is ByteCode.ALWAYS:
        raise PackageError(
            f"Byte code needs Python {target.python} on this machine: uv python install {target.python}"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory(prefix="coachstream-package-") as temporary,
        # In the same folder as the output, so that it can be moved there atomically.
        TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as staging,
    ):
        folder = Path(temporary) / "package"
        on_step(f"Installing the dependencies for {target}")
        origins = _collect(folder, Path(temporary) / "dependencies", target)
        (folder / PACKAGE_TARGET).write_bytes(msgspec.json.encode(target) + b"\n")
        if keys is not None:
            (folder / PACKAGED_KEYS).write_bytes(keys)
        if interpreter is not None:
            on_step("Compiling")
            compile_all(folder, interpreter)
        on_step("Writing the zip")
        whole = Path(staging) / output.name
        components = _components(write_archive(folder, whole), origins)
        package = Package(
            path=whole,
            sha256=sha256_of(whole),
            target=target,
            has_byte_code=interpreter is not None,
            components=components,
        )
        _check_size(package, most_zipped)
        whole.replace(output)
    return msgspec.structs.replace(package, path=output)


def unpack(package: Path, folder: Path) -> None:
    """Unzip a package as Lambda does, with the file modes.

    Raises:
        OSError: it cannot be read, or the files cannot be written.
    """
    import zipfile

    with zipfile.ZipFile(package) as archive:
        for entry in archive.infolist():
            Path(archive.extract(entry, folder)).chmod(entry.external_attr >> 16 & 0o777)


def _collect(folder: Path, installed: Path, target: Target) -> Mapping[str, str]:
    origins = dict(install(target, installed))
    for name, path in list(of_the_dependencies(installed)):
        path.rename(_place(folder, name))
    for name, path in of_ours():
        shutil.copy(path, _place(folder, name))
        origins[name] = name.partition("/")[0]
    return origins


def _place(folder: Path, name: str) -> Path:
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _components(sizes: Mapping[str, tuple[int, int]], origins: Mapping[str, str]) -> tuple[Component, ...]:
    unzipped: dict[str, int] = defaultdict(int)
    zipped: dict[str, int] = defaultdict(int)
    for name, (size, size_in_zip) in sizes.items():
        component = "byte code" if name.endswith(".pyc") else origins.get(name, name)
        unzipped[component] += size
        zipped[component] += size_in_zip
    found = (Component(name, unzipped[name], zipped[name]) for name in unzipped)
    return tuple(sorted(found, key=lambda component: -component.zipped))


def _check_size(package: Package, most_zipped: int) -> None:
    for size, most, what in (
        (package.zipped, most_zipped, "The package is"),
        (package.unzipped, MOST_UNZIPPED, "Unzipped, the package is"),
    ):
        if size > most:
            largest = ", ".join(
                f"{each.name} {each.zipped / MEGABYTE:.1f} MB" for each in package.components[:3]
            )
            raise PackageError(
                f"{what} {size / MEGABYTE:.1f} MB, more than {most / MEGABYTE:g} MB. The largest: {largest}."
            )
