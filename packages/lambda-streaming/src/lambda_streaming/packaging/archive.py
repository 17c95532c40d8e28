"""Writes the zip reproducibly: the same files give the same bytes, at any time and on any machine."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from pathlib import Path

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The earliest timestamp that zip files support."""

_UNIX = 3
_FILE, _PROGRAM = 0o644, 0o755
#: zlib's compression level. Level 9 takes four times as long for a package half a per cent smaller.
_LEVEL = 6


def place_in(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder that is to be zipped, and make the folders above it.

    Args:
        folder: what the zip is to contain.
        name: the file's path in the zip.

    Raises:
        OSError: the folders cannot be made.
    """
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_archive(folder: Path, output: Path) -> dict[str, tuple[int, int]]:
    """Write a zip of all files in a folder.

    Returns:
        For each file, its size and its compressed size in bytes.

    Raises:
        OSError: the zip could not be written.
    """
    sizes: dict[str, tuple[int, int]] = {}
    with zipfile.ZipFile(output, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EARLIEST)
            entry.create_system = _UNIX
            entry.compress_type = zipfile.ZIP_DEFLATED
            content = path.read_bytes()
            # Detected by its first line: a checkout may have another umask, or no file modes at all.
            is_program = path.suffix == "" and content.startswith(b"#!")
            entry.external_attr = (stat.S_IFREG | (_PROGRAM if is_program else _FILE)) << 16
            archive.writestr(entry, content, compresslevel=_LEVEL)
            sizes[entry.filename] = (entry.file_size, entry.compress_size)
    return sizes


def sha256_of(path: Path) -> str:
    """Return the SHA-256 hash of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unzip an archive as Lambda does, with the file modes.

    Raises:
        OSError: it cannot be read, or the files cannot be written.
    """
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            Path(opened.extract(entry, folder)).chmod(entry.external_attr >> 16 & 0o777)
