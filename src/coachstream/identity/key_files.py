"""Files of keys: complete or absent, never half written, readable by their owner only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_once(path: Path, content: bytes) -> None:
    """Write a new file in one step; when another process was faster, its file stays."""
    temporary = _temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def replace(path: Path, content: bytes) -> None:
    """Write a file in one step, in place of one that may be there."""
    _temporary(path, content).replace(path)


def _temporary(path: Path, content: bytes) -> Path:
    """A file beside `path`, readable by its owner only, whose content is on the disk."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
