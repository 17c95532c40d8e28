"""Selects the files to package, with `lambda_streaming.packaging.selection`.

What only the functions of this project never use is excluded here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lambda_streaming.packaging.selection import of_lambda_streaming, of_package
from lambda_streaming.packaging.selection import of_the_dependencies as all_of_the_dependencies

SERVICES = frozenset({"bedrock-runtime", "dynamodb", "lambda", "secretsmanager", "sts"})
"""The services that the functions call, and STS, for credentials; botocore describes 400 more."""

_SERVICE = re.compile(r"botocore/data/(?P<service>[^/]+)/.+")

_NOT_ON_LAMBDA = ("check", "cli", "deployment", "infrastructure", "local", "package", "reference")
"""The packages of `coachstream` that never run on Lambda."""


def of_the_dependencies(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files to package of the dependencies installed in a folder, sorted by path in the package.

    Raises:
        PackageError: a file is a symbolic link.
    """
    for name, path in all_of_the_dependencies(folder):
        described = _SERVICE.fullmatch(name)
        if described is None or described["service"] in SERVICES:
            yield name, path


def of_ours() -> Iterator[tuple[str, Path]]:
    """Yield the files to package of `lambda_streaming` and `coachstream`, as they are installed here.

    Raises:
        PackageError: one of them is a symbolic link.
    """
    for name, path in of_package(Path(__file__).parents[1], without=_NOT_ON_LAMBDA):
        if path.name != "resource.py":
            yield name, path
    yield from of_lambda_streaming()
