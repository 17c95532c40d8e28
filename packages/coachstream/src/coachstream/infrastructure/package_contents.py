"""Reads a package's metadata for the deployment; needs no CDK."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from coachstream.infrastructure.target import ARCHITECTURE, PACKAGE_TARGET, PACKAGED_KEYS, PYTHON


def check_target(package: Path) -> None:
    """Reject a package that the functions could not load.

    Args:
        package: the zip, or the folder that it was unzipped to. One without metadata is accepted.

    Raises:
        ValueError: it is for another Python or CPU, or is not a zip file.
    """
    document = _read(package, PACKAGE_TARGET)
    if document is None:
        return
    target = json.loads(document)
    if (target["python"], target["cpu"]) != (PYTHON, ARCHITECTURE):
        made_for = f"Python {target['python']} on {target['cpu']}"
        raise ValueError(
            f"the package is for {made_for}, and the functions run Python {PYTHON} on {ARCHITECTURE}"
        )


def packaged_keys(package: Path, user_pool_id: str | None) -> str | None:
    """Return the file in a package with the keys of a user pool; None if there is none.

    Args:
        package: the zip, or the folder that it was unzipped to.
        user_pool_id: the pool's id; None if the stack will create it.

    Raises:
        ValueError: they are another pool's keys, with which the functions would not start; or the package is
            not a zip file.
    """
    document = _read(package, PACKAGED_KEYS)
    if document is None:
        return None
    issuer = str(json.loads(document).get("issuer"))
    if user_pool_id is None or not issuer.endswith(f"/{user_pool_id}"):
        ours = f"not of {user_pool_id}" if user_pool_id else "but the stack will create a new user pool"
        raise ValueError(f"the package holds the keys of {issuer}, {ours}; build another package")
    return PACKAGED_KEYS


def _read(package: Path, name: str) -> bytes | None:
    if package.is_dir():
        file = package / name
        return file.read_bytes() if file.is_file() else None
    if not zipfile.is_zipfile(package):
        raise ValueError(f"{package} is not a zip file; `coachstream package` builds one")
    with zipfile.ZipFile(package) as archive:
        return archive.read(name) if name in archive.namelist() else None
