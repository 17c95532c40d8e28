"""What the page's files must never contain; checked without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import coachstream.local

PAGE = Path(coachstream.local.__file__).parent / "page"
SCRIPTS = sorted(PAGE.rglob("*.js"))
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file())

#: Each turns text into markup or code.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML"
    r"|\beval\(|new Function|javascript:|srcdoc"
)
ADDRESS = re.compile(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*")
#: A namespace is a name; nothing is fetched from there.
NAMES = {"http://www.w3.org/2000/svg"}
IMPORT = re.compile(r'^(?:import|\} from|import .* from) "(\.[^"]+)";$|from "(\.[^"]+)";$', re.MULTILINE)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_turns_text_into_markup(path: Path) -> None:
    """No API that could inject text as HTML is used."""
    assert FORBIDDEN.findall(path.read_text()) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_refers_to_another_host(path: Path) -> None:
    """No font, script, style or image is loaded from another host."""
    assert set(ADDRESS.findall(path.read_text())) <= NAMES


def test_the_page_holds_no_inline_script_or_style() -> None:
    """The content security policy would refuse them."""
    html = (PAGE / "index.html").read_text()
    assert re.findall(r"\sstyle=|<style|\son\w+=|<script(?![^>]*\ssrc=)", html) == []


def test_every_file_is_used_and_every_reference_exists() -> None:
    """Scripts are reachable from `main.js`, styles from the page; no file is unused."""
    html = (PAGE / "index.html").read_text()
    reached = {PAGE / "index.html"}
    waiting = [PAGE / name for name in re.findall(r'(?:src|href)="([^"#]+)"', html)]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        assert path.is_file(), path
        reached.add(path)
        if path.suffix == ".js":
            names = [first or second for first, second in IMPORT.findall(path.read_text())]
            # Types are imported in comments, where nothing is fetched.
            types = re.findall(r'@import .* from "(\.[^"]+)"', path.read_text())
            types += re.findall(r'import\("(\.[^"]+)"\)', path.read_text())
            waiting += [(path.parent / name).resolve() for name in [*names, *types]]
    assert reached == {path.resolve() for path in FILES}
