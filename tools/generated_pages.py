"""Writes every file of the checkout that is generated from the code: `make docs-pages`."""

from __future__ import annotations

from pathlib import Path

from coachstream.cli import docs as cli
from coachstream.infrastructure import drop_in
from coachstream.reference import documents as reference
from coachstream.settings import docs as settings

ROOT = Path(__file__).parents[1]


def generated_files() -> dict[str, str]:
    """Each file's path below the root of the checkout, with its text."""
    pages = {"settings.md": settings.document(), "cli.md": cli.document(), **reference.documents()}
    return {
        "deploy/amplify/functions/stream-coach-conversation/settings.json": drop_in.document(),
        **{f"docs/reference/{name}": text for name, text in pages.items()},
    }


if __name__ == "__main__":
    for path, text in generated_files().items():
        (ROOT / path).write_text(text, encoding="utf-8")
