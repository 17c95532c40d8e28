"""Selects the files to package.

Our own folders may contain stray files, so only known kinds of files are packaged, and symbolic links never.
The dependencies come from wheels with verified hashes: from them, files that Lambda never runs are excluded
to save space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import lambda_streaming
from coachstream.package.errors import PackageError

SERVICES = frozenset({"bedrock-runtime", "dynamodb", "lambda", "secretsmanager", "sts"})
"""The services that the functions call, and STS, for credentials; botocore describes 400 more."""

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
    "coachstream/deployment",
    "coachstream/infrastructure",
    "coachstream/local",
    "coachstream/package",
    "coachstream/reference",
    "lambda_streaming/emulator",
)
"""The packages that never run on Lambda."""

_OUR_KINDS = re.compile(r"([a-z0-9_]+/)+([a-z0-9_]+\.py|py\.typed)|lambda_streaming/exec-wrapper")
"""Modules, the marker of typed packages, and the program that starts the runtime."""


def of_the_dependencies(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files to package of the dependencies installed in a folder, sorted by path in the package.

    Raises:
        PackageError: a file is a symbolic link.
    """
    for name, path in _files(folder):
        described = _SERVICE.fullmatch(name)
        if _NEVER_RUN.search(name) or (described and described["service"] not in SERVICES):
            continue
        yield name, path


def of_ours() -> Iterator[tuple[str, Path]]:
    """Yield the files to package of `lambda_streaming` and `coachstream`, as they are installed here.

    Raises:
        PackageError: one of them is a symbolic link.
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
        # uv's lock, and files of editors and file managers, some of which are links.
        if name.startswith((".", *without)) or "/." in name:
            continue
        if path.is_symlink():
            raise PackageError(
                f"{path} is a symbolic link. A package consists of regular files only; remove it."
            )
        if path.is_file():
            yield name, path
