"""What the command lines of the measurements have in common."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

INTERRUPTED = 130
"""The exit status after Ctrl-C, as of a shell."""


def new_file(text: str) -> Path:
    """The path of a file to write, checked before minutes are spent on its content."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder {path.parent} does not exist")
    return path


def at_least_one(text: str) -> int:
    """A positive number."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def say(what: str) -> None:
    """Report progress, apart from the results."""
    print(what, file=sys.stderr, flush=True)


def write_json(found: msgspec.Struct, path: Path) -> None:
    """Write every figure to a file."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
