"""Selects the files to package.

Of our own folders, which may hold anything that was left there, only files of known kinds are packed, and
never what a link leads to. The dependencies are unpacked from wheels of known hashes: there, what Lambda
never runs is left out for its size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import lambda_streaming
from coachstream.package.errors import PackageError

SERVICES = frozenset({"bedrock-runtime", "dynamodb", "lambda", "secretsmanager", "sts"})
"""Those that the functions call, and STS, which credentials may come from; botocore describes 400 more."""

_NEVER_RUN = re.compile(
    r"""
    (^|/)(__pycache__|tests)/ | ^bin/ |          # caches, tests, programs
    \.(pyi|pyx|pxd|c|h|exe)$ |                   # for type checkers and compilers
    \.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json|uv_cache\.json|sboms/.*)$
    """,
    re.VERBOSE,
)
_SERVICE = re.compile(r"botocore/data/(?P<service>[^/]+)/.+")

_OURS_NOT_ON_LAMBDA = (
    "coachstream/check",
    "coachstream/cli",
    "coachstream/infrastructure",
    "coachstream/local",
    "coachstream/package",
    "coachstream/reference",
    "lambda_streaming/emulator",
)
"""The rooms of people's own machines."""

_OUR_KINDS = re.compile(r"([a-z0-9_]+/)+([a-z0-9_]+\.py|py\.typed)|lambda_streaming/exec-wrapper")
"""Modules, the mark of typed packages, and the program that starts the runtime."""


def of_the_dependencies(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files to pack of what is installed in a folder, each with its path in the package, in its order.

    Raises:
        PackageError: one is a link.
    """
    for name, path in _files(folder):
        described = _SERVICE.fullmatch(name)
        if _NEVER_RUN.search(name) or (described and described["service"] not in SERVICES):
            continue
        yield name, path


def of_ours() -> Iterator[tuple[str, Path]]:
    """The files to pack of `lambda_streaming` and `coachstream`, as they are imported here.

    Raises:
        PackageError: one of them is a link.
    """
    for home in (Path(__file__).parents[1], Path(lambda_streaming.__file__).parent):
        elsewhere = tuple(
            f"{room.partition('/')[2]}/" for room in _OURS_NOT_ON_LAMBDA if room.startswith(f"{home.name}/")
        )
        for name, path in _files(home, without=elsewhere):
            packed = f"{home.name}/{name}"
            if _OUR_KINDS.fullmatch(packed) and path.name != "resource.py":
                yield packed, path


def _files(folder: Path, *, without: tuple[str, ...] = ()) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        # uv's lock, what editors and file managers leave: some of it is links.
        if name.startswith((".", *without)) or "/." in name:
            continue
        if path.is_symlink():
            raise PackageError(f"{path} is a link. A package is made of files only; remove it.")
        if path.is_file():
            yield name, path
