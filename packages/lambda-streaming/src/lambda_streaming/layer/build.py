"""One layer for every managed Python runtime and both CPUs.

Lambda unpacks a layer into `/opt`, and its Python runtimes import from `/opt/python`. The names of compiled
modules contain the Python version and the CPU, and everything else in the wheels is the same for all targets,
so the files of all targets fit into that one folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from lambda_streaming.packaging.archive import place_in, sha256_of, write_archive
from lambda_streaming.packaging.byte_code import ByteCode, compile_all, interpreter_as_asked
from lambda_streaming.packaging.errors import PackageError
from lambda_streaming.packaging.installation import install, uv_program
from lambda_streaming.packaging.selection import of_lambda_streaming, of_the_dependencies
from lambda_streaming.packaging.sizes import MEGABYTE, Component, check_size, components_of
from lambda_streaming.packaging.target import Cpu, Target

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
"""The managed runtimes that this package supports (Lambda developer guide, "Lambda runtimes", 2026-11-28)."""

EXEC_WRAPPER: Final = "/opt/python/lambda_streaming/exec-wrapper"
"""The value of `AWS_LAMBDA_EXEC_WRAPPER` that starts the function with the layer."""

MOST_ZIPPED: Final = 50 * MEGABYTE
"""Lambda's limit for direct uploads (Lambda developer guide, "Lambda quotas", 2026-11-28)."""

LOCK: Final = Path(__file__).with_name("layer.lock")
"""Every dependency with its hashes; `make lock` generates it."""

_MODULES: Final = "python"
_ON_LAMBDA: Final = f"/opt/{_MODULES}"


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer that has been built.

    Attributes:
        path: the path of the zip.
        sha256: its hash, in hexadecimal.
        pythons: the Python versions that it runs on.
        cpus: the CPUs that it runs on.
        compiled: those of the versions that it has byte code for.
        components: its components, the largest first.
    """

    path: Path
    sha256: str
    pythons: tuple[str, ...]
    cpus: tuple[Cpu, ...]
    compiled: tuple[str, ...]
    components: tuple[Component, ...]


def build(
    output: Path,
    *,
    pythons: Sequence[str] = PYTHONS,
    cpus: Sequence[Cpu] = tuple(Cpu),
    byte_code: ByteCode = ByteCode.AUTO,
    on_step: Callable[[str], None] = lambda _: None,
) -> Layer:
    """Build the layer.

    Args:
        output: the path of the zip, in an existing folder; an existing one is replaced atomically.
        pythons: the Python versions to build for.
        cpus: the CPUs to build for.
        byte_code: whether to compile it.
        on_step: called with a short description of each step.

    Raises:
        PackageError: it cannot be built, or is too large.
        OSError: the output cannot be written.
    """
    interpreters = {python: interpreter_as_asked(Target(python, cpus[0]), byte_code) for python in pythons}
    with (
        TemporaryDirectory(prefix="lambda-streaming-layer-") as temporary,
        # In the same folder as the output, so that it can be moved there atomically.
        TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as staging,
    ):
        folder = Path(temporary) / "layer"
        modules = folder / _MODULES
        targets = [Target(*each) for each in product(pythons, cpus)]
        on_step(f"Installing the dependencies for Python {', '.join(pythons)} on {', '.join(cpus)}")
        installed = [Path(temporary) / f"target-{number}" for number in range(len(targets))]
        # Looked up before threads do: the first use of Python 3.11's `sysconfig` is not thread-safe.
        uv_program()
        # In parallel, because they mostly wait for the package index.
        with ThreadPoolExecutor() as installers:
            all_origins = list(installers.map(partial(install, LOCK), targets, installed))
        origins: dict[str, str] = {}
        for target, its_folder, its_origins in zip(targets, installed, all_origins, strict=True):
            origins.update(its_origins)
            _add(modules, its_folder, target)
        for name, path in of_lambda_streaming():
            shutil.copy(path, place_in(modules, name))
            origins[name] = "lambda-streaming"
        for python, interpreter in interpreters.items():
            if interpreter is not None:
                on_step(f"Compiling for Python {python}")
                compile_all(modules, interpreter, place=_ON_LAMBDA)
        on_step("Writing the zip")
        whole = Path(staging) / output.name
        sizes = write_archive(folder, whole)
        components = components_of(sizes, {f"{_MODULES}/{name}": of for name, of in origins.items()})
        check_size("layer", components, zipped=whole.stat().st_size, most_zipped=MOST_ZIPPED)
        layer = Layer(
            path=output,
            sha256=sha256_of(whole),
            pythons=tuple(pythons),
            cpus=tuple(cpus),
            compiled=tuple(python for python, interpreter in interpreters.items() if interpreter is not None),
            components=components,
        )
        whole.replace(output)
    return layer


def _add(folder: Path, installed: Path, target: Target) -> None:
    """Add the files of the dependencies for one target to those of the others."""
    for name, path in list(of_the_dependencies(installed)):
        place = place_in(folder, name)
        if not place.exists():
            path.rename(place)
        elif place.read_bytes() != path.read_bytes() and not name.endswith(".dist-info/WHEEL"):
            raise PackageError(
                f"{name} is not the same for {target} as for another target, so they need layers of "
                "their own: use --python and --architecture."
            )
