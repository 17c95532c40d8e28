"""Writes the reference: `python -m coachstream.reference [FOLDER]`, `docs/reference` if none is named."""

from __future__ import annotations

import sys
from pathlib import Path

from coachstream.reference.documents import DEFAULT_FOLDER, documents


def main() -> None:
    """Write every document into the folder."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else DEFAULT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
