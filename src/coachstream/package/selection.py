"""What goes along of everything that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import lambda_streaming

SERVICES = frozenset({"bedrock-runtime", "dynamodb", "lambda", "secretsmanager", "sts"})
"""Those that the functions call, and STS, which credentials may come from; botocore describes 400 more."""

_NEVER_RUN = re.compile(
    r"""
    (^|/)(__pycache__|tests)/ | ^bin/ |          # caches, tests, programs
    (^|/)\. |                                    # uv's lock, what editors and file managers leave
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
    "lambda_streaming/emulator",
)
"""The rooms of people's own machines."""


def of_the_dependencies(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files to pack of what is installed in a folder, each with its path in the package, in its order."""
    for name, path in _files(folder):
        described = _SERVICE.fullmatch(name)
        if _NEVER_RUN.search(name) or (described and described["service"] not in SERVICES):
            continue
        yield name, path


def of_ours() -> Iterator[tuple[str, Path]]:
    """The files to pack of `lambda_streaming` and `coachstream`, as they are imported here."""
    for home in (Path(__file__).parents[1], Path(lambda_streaming.__file__).parent):
        for name, path in _files(home):
            packed = f"{home.name}/{name}"
            is_elsewhere = any(packed.startswith(f"{room}/") for room in _OURS_NOT_ON_LAMBDA)
            if not (is_elsewhere or path.name == "resource.py" or _NEVER_RUN.search(packed)):
                yield packed, path


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    found = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return iter(sorted(found))
