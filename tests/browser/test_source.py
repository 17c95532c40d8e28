"""What the page's files must never contain; checked without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import coachstream.local
from support.places import CACHE

PAGE = Path(coachstream.local.__file__).parent / "page"
VENDORED = PAGE / "vendor"
LIBRARIES = sorted(VENDORED.rglob("*.mjs"))
SCRIPTS = [*sorted(PAGE.rglob("*.js")), *LIBRARIES]
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file() and VENDORED not in path.parents)
MODULES = CACHE / "page-libraries" / "node_modules"

#: Each vendored file, and where it is in the npm package. To move to another version: change it in
#: `tests/browser/vendored/package.json`, run `npm install --package-lock-only
#: --omit-lockfile-registry-resolved` there, then `install.sh`, and copy the files.
ORIGINS = {
    "markdown-it/markdown-it.esm.min.mjs": "markdown-it/dist/browser/markdown-it.esm.min.mjs",
    "markdown-it/LICENSE": "markdown-it/LICENSE",
    # What the library's file bundles.
    "markdown-it/LICENSE.entities": "entities/LICENSE",
    "markdown-it/LICENSE.linkify-it": "linkify-it/LICENSE",
    "markdown-it/LICENSE.mdurl": "mdurl/LICENSE",
    "markdown-it/LICENSE.punycode": "punycode.js/LICENSE-MIT.txt",
    "markdown-it/LICENSE.uc.micro": "uc.micro/LICENSE.txt",
}

#: Each turns text into markup or code.
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|setHTML"
    r"|\beval\(|new Function|javascript:|srcdoc"
)
ADDRESS = re.compile(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*")
#: A namespace is a name; nothing is fetched from there.
NAMES = {"http://www.w3.org/2000/svg"}
#: Modules that are loaded when they are first needed, and so are their styles.
ON_DEMAND = (
    *("js/inspect/", "js/search.js", "js/user-data/"),
    *("js/view/download.js", "js/view/export-dialog.js", "js/view/search-box.js", "js/view/sign-in.js"),
)
IMPORT = re.compile(r'^(?:import|\} from|import .* from) "(\.[^"]+)";$|from "(\.[^"]+)";$', re.MULTILINE)
#: Safari before 16.4 refuses a whole module that has one.
LOOK_BEHIND = re.compile(r"\(\?<[=!]")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_regular_expression_looks_behind(path: Path) -> None:
    """A browser that cannot do this would show a blank page."""
    assert LOOK_BEHIND.findall(path.read_text()) == []


def test_vendored_files_are_those_of_the_pinned_packages() -> None:
    """The packages were checked against the hashes in the lock file."""
    vendored = {str(path.relative_to(VENDORED)) for path in VENDORED.rglob("*") if path.is_file()}
    assert {name for name in vendored if not name.endswith(".d.mts")} == set(ORIGINS)
    if not MODULES.exists():
        pytest.skip("needs the page's libraries: tests/browser/vendored/install.sh")
    for name, origin in ORIGINS.items():
        assert (VENDORED / name).read_bytes() == (MODULES / origin).read_bytes(), name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_turns_text_into_markup(path: Path) -> None:
    """No API that could inject text as HTML is used."""
    # The library names the protocol to refuse it.
    allowed = {"javascript:"} if path in LIBRARIES else set[str]()
    assert set(FORBIDDEN.findall(path.read_text())) <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_file_refers_to_another_host(path: Path) -> None:
    """No font, script, style or image is loaded from another host."""
    assert set(ADDRESS.findall(path.read_text())) <= NAMES


def test_the_page_holds_no_inline_script_or_style() -> None:
    """The content security policy would refuse them."""
    html = (PAGE / "index.html").read_text()
    assert re.findall(r"\sstyle=|<style|\son\w+=|<script(?![^>]*\ssrc=)", html) == []


def test_the_page_preloads_every_module() -> None:
    """Others would be fetched only after the ones that import them. Few need the ones on demand."""
    html = (PAGE / "index.html").read_text()
    preloaded = re.findall(r'<link rel="modulepreload" fetchpriority="low" href="([^"]+)">', html)
    modules = {str(path.relative_to(PAGE)) for path in SCRIPTS} - {"js/early.js", "js/types.js"}
    assert sorted(preloaded) == sorted(name for name in modules if not name.startswith(ON_DEMAND))


def test_every_file_is_used_and_every_reference_exists() -> None:
    """Scripts are reachable from `main.js`, styles from the page; no file is unused."""
    html = (PAGE / "index.html").read_text()
    html = re.sub(r'<link rel="modulepreload"[^>]*>', "", html)
    reached = {PAGE / "index.html"}
    waiting = [(PAGE / name).resolve() for name in re.findall(r'(?:src|href)="([^"#]+)"', html)]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        assert path.is_file(), path
        reached.add(path)
        if path.suffix == ".js" and VENDORED not in path.parents:
            names = [first or second for first, second in IMPORT.findall(path.read_text())]
            # Types are imported in comments, where nothing is fetched.
            types = re.findall(r'@import .* from "(\.[^"]+)"', path.read_text())
            types += re.findall(r'import\("(\.[^"]+)"\)', path.read_text())
            waiting += [(path.parent / name).resolve() for name in [*names, *types]]
            styles = re.findall(r'rel: "stylesheet", href: "([^"]+)"', path.read_text())
            waiting += [PAGE / name for name in styles]
    assert reached == {path.resolve() for path in [*FILES, *LIBRARIES]}
