"""Builds a package, from its dependencies to the zip."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from coachstream.infrastructure.target import PACKAGE_TARGET, PACKAGED_KEYS
from coachstream.package.selection import of_ours, of_the_dependencies
from lambda_streaming.packaging.archive import place_in, sha256_of, write_archive
from lambda_streaming.packaging.byte_code import ByteCode, compile_all, interpreter_as_asked
from lambda_streaming.packaging.installation import install
from lambda_streaming.packaging.sizes import Component, check_size, components_of
from lambda_streaming.packaging.target import Target

LOCK = Path(__file__).with_name("lambda.lock")
"""Every dependency with its hashes; `make lock` generates it."""

_ON_LAMBDA = "/var/task"
"""The folder of a function's package on Lambda."""


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
    interpreter = interpreter_as_asked(target, byte_code)
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
            compile_all(folder, interpreter, place=_ON_LAMBDA)
        on_step("Writing the zip")
        whole = Path(staging) / output.name
        components = components_of(write_archive(folder, whole), origins)
        package = Package(
            path=whole,
            sha256=sha256_of(whole),
            target=target,
            has_byte_code=interpreter is not None,
            components=components,
        )
        check_size("package", components, zipped=package.zipped, most_zipped=most_zipped)
        whole.replace(output)
    return msgspec.structs.replace(package, path=output)


def _collect(folder: Path, installed: Path, target: Target) -> Mapping[str, str]:
    origins = dict(install(LOCK, target, installed))
    for name, path in list(of_the_dependencies(installed)):
        path.rename(place_in(folder, name))
    for name, path in of_ours():
        shutil.copy(path, place_in(folder, name))
        origins[name] = name.partition("/")[0]
    return origins
