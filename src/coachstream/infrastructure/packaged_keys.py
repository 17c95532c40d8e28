"""The user pool's keys in the package, where it has them; needs no CDK."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from coachstream.infrastructure.target import PACKAGED_KEYS


def packaged_keys(package: Path, user_pool_id: str | None) -> str | None:
    """The file in a package that holds the keys of a user pool; None if there are none in it.

    Args:
        package: the zip, or the folder that it was unzipped to.
        user_pool_id: of the pool; None if it is yet to be made.

    Raises:
        ValueError: they are another pool's, with which the functions would refuse to start; or the package is
            no zip.
    """
    document = _read(package)
    if document is None:
        return None
    issuer = str(json.loads(document).get("issuer"))
    if user_pool_id is None or not issuer.endswith(f"/{user_pool_id}"):
        ours = f"not of {user_pool_id}" if user_pool_id else "and the user pool is yet to be made"
        raise ValueError(f"the package holds the keys of {issuer}, {ours}; make another one")
    return PACKAGED_KEYS


def _read(package: Path) -> bytes | None:
    if package.is_dir():
        keys = package / PACKAGED_KEYS
        return keys.read_bytes() if keys.is_file() else None
    if not zipfile.is_zipfile(package):
        raise ValueError(f"{package} is no zip; `coachstream package` makes one")
    with zipfile.ZipFile(package) as archive:
        return archive.read(PACKAGED_KEYS) if PACKAGED_KEYS in archive.namelist() else None
