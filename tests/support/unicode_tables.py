"""Writes `conversation/unicode_properties.py` from the Unicode Character Database that `regex` ships.

`make unicode` runs it; a test compares the file with what it would write, so that a new Unicode version is
noticed when the lock files are updated.
"""

from __future__ import annotations

import re
import sys
import textwrap
from importlib.metadata import distribution

import regex

from support.places import COACHSTREAM

PATH = COACHSTREAM / "src" / "coachstream" / "conversation" / "unicode_properties.py"

_LINE_CHARS = 110

PROPERTIES = {
    "DEFAULT_IGNORABLE": (
        r"\p{Default_Ignorable_Code_Point}",
        "Shown as nothing by a program that does not support them (UCD, Default_Ignorable_Code_Point).",
    ),
    "PREPENDED_MARKS": (
        r"\p{Prepended_Concatenation_Mark}",
        "Format characters that are seen, as the Arabic number sign (UCD, Prepended_Concatenation_Mark).",
    ),
    "PICTOGRAPHS": (
        r"\p{Extended_Pictographic}",
        "Emoji, and the places that are reserved for more (UCD, Extended_Pictographic).",
    ),
    "EMOJI_MODIFIERS": (r"\p{Emoji_Modifier}", "Skin tones (UCD, Emoji_Modifier)."),
    "JOINING_LETTERS": (
        r"[\p{Joining_Type=Dual_Joining}\p{Joining_Type=Left_Joining}\p{Joining_Type=Right_Joining}]",
        "Letters whose shape depends on their neighbours, as in Arabic (UCD, Joining_Type D, L and R).",
    ),
    "VIRAMAS": (
        r"\p{Canonical_Combining_Class=9}",
        "Marks that join consonants, as in Devanagari (UCD, Canonical_Combining_Class 9).",
    ),
}


def unicode_version() -> str:
    """The version of the character database that `regex` documents."""
    found = re.search(r"supports Unicode (\d+\.\d+\.\d+)", distribution("regex").read_text("METADATA") or "")
    assert found, "regex does not say which Unicode it supports"
    return found[1]


def document() -> str:
    """The source of the module."""
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    lines = [
        '"""Properties of characters: each string holds the boundaries of its ranges.',
        "",
        "The first character that has the property, the next that does not, and so on. Made by `make",
        "unicode` from the Unicode Character Database (UCD), with tests/support/unicode_tables.py.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        f'UNICODE_VERSION = "{unicode_version()}"',
    ]
    for name, (pattern, meaning) in PROPERTIES.items():
        runs = regex.finditer(f"{pattern}+", everything)
        boundaries = [_escape(boundary) for run in runs for boundary in run.span()]
        lines += ["", *_assignment(name, boundaries), f'"""{meaning}"""']
    return "\n".join(lines) + "\n"


def _assignment(name: str, escapes: list[str]) -> list[str]:
    """An assignment as ruff formats it."""
    string = "".join(escapes)
    if len(f'{name} = "{string}"') <= _LINE_CHARS:
        return [f'{name} = "{string}"']
    parts = [string]
    if len(f'    "{string}"') > _LINE_CHARS:
        parts = [part.replace(" ", "") for part in textwrap.wrap(" ".join(escapes), 100)]
    return [f"{name} = (", *(f'    "{part}"' for part in parts), ")"]


def _escape(code_point: int) -> str:
    return f"\\u{code_point:04x}" if code_point <= 0xFFFF else f"\\U{code_point:08x}"


if __name__ == "__main__":
    PATH.write_text(document())
