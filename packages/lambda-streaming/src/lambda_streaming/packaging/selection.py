"""Selects the files of a zip file.

A package's own folder may contain stray files, so only known kinds of files are selected, and symbolic links
never. The dependencies come from wheels with verified hashes: from them, files that Lambda never runs are
excluded to save space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lambda_streaming.packaging.errors import PackageError

_NEVER_RUN = re.compile(
    r"""
    (^|/)(__pycache__|tests)/ | ^bin/ |          # caches, tests, programs
    \.(pyi|pyx|pxd|c|h|exe)$ |                   # for type checkers and compilers
    \.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json|uv_cache\.json|sboms/.*)$
    """,
    re.VERBOSE,
)

_MODULES = re.compile(r"([a-z0-9_]+/)+([a-z0-9_]+\.py|py\.typed)")
_PROGRAM = "lambda_streaming/exec-wrapper"
"""It starts the runtime."""

_NOT_ON_LAMBDA = ("emulator", "layer", "packaging")
"""The packages of `lambda_streaming` that never run on Lambda."""


def of_the_dependencies(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of the dependencies installed in a folder that may run, sorted by path.

    Raises:
        PackageError: a file is a symbolic link.
    """
    for name, path in _files(folder):
        if not _NEVER_RUN.search(name):
            yield name, path


def of_lambda_streaming() -> Iterator[tuple[str, Path]]:
    """Yield the files of `lambda_streaming`, as it is installed here, by their paths in the zip.

    Raises:
        PackageError: one of them is a symbolic link.
    """
    yield from of_package(Path(__file__).parents[1], without=_NOT_ON_LAMBDA)


def of_package(home: Path, *, without: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    """Yield a package's modules, and the program that starts the runtime, by their paths in the zip.

    Args:
        home: the folder.
        without: the packages in it that never run on Lambda.

    Raises:
        PackageError: a file is a symbolic link.
    """
    for name, path in _files(home, without=tuple(f"{each}/" for each in without)):
        packed = f"{home.name}/{name}"
        if packed == _PROGRAM or _MODULES.fullmatch(packed):
            yield packed, path


def _files(folder: Path, *, without: tuple[str, ...] = ()) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        # uv's lock, and files of editors and file managers, some of which are links.
        if name.startswith((".", *without)) or "/." in name:
            continue
        if path.is_symlink():
            raise PackageError(
                f"{path} is a symbolic link. A package consists of regular files only; remove it."
            )
        if path.is_file():
            yield name, path
