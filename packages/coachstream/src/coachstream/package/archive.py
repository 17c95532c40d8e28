"""The zip: the same files are the same bytes, whenever and wherever it is written."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from pathlib import Path

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The beginning of time, as zip files count it."""

_UNIX = 3
_FILE, _PROGRAM = 0o644, 0o755
#: Of zlib. The hardest, 9, takes four times as long, and the package is half a per cent smaller.
_LEVEL = 6


def write_archive(folder: Path, output: Path) -> dict[str, tuple[int, int]]:
    """Write a zip of everything in a folder that `selection` has filled.

    Returns:
        For each file its size, and its size in the zip, in bytes.

    Raises:
        OSError: it could not be written.
    """
    sizes: dict[str, tuple[int, int]] = {}
    with zipfile.ZipFile(output, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EARLIEST)
            entry.create_system = _UNIX
            entry.compress_type = zipfile.ZIP_DEFLATED
            content = path.read_bytes()
            # By its first line: a checkout may have another umask, or know no modes at all.
            is_program = path.suffix == "" and content.startswith(b"#!")
            entry.external_attr = (stat.S_IFREG | (_PROGRAM if is_program else _FILE)) << 16
            archive.writestr(entry, content, compresslevel=_LEVEL)
            sizes[entry.filename] = (entry.file_size, entry.compress_size)
    return sizes


def sha256_of(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
