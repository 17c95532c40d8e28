"""Everything that the pages for contributors name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.places import COACHSTREAM, LAMBDA_STREAMING, ROOT

PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "docs" / "how-to" / "release.md"]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """Only links within the repository are followed."""
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_exists(page: Path) -> None:
    """Every command shown can be run."""
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^\s*)make ([a-z-]+)", page.read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_folder_and_file_of_the_tree_exists() -> None:
    """CONTRIBUTING.md shows where code goes."""
    (tree,) = re.findall(
        r"^```\n(packages/\n.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL
    )
    folders = {0: ROOT}
    named = 0
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        parent = folders[max(depth for depth in folders if depth <= indent)]
        for name in re.split(r"\s{2,}", line.strip())[0].replace(",", "").split():
            if name == "...":
                continue
            assert (parent / name).exists(), f"{parent}/{name}"
            named += 1
            folders = {depth: folder for depth, folder in folders.items() if depth <= indent}
            folders[indent + 2] = parent / name
    assert named > 25


def test_every_path_of_the_repository_that_is_named_in_code_exists() -> None:
    """Paths such as `tests/support/` and `settings/variables.py` start at the root or in a package."""
    roots = [ROOT, LAMBDA_STREAMING / "src" / "lambda_streaming", COACHSTREAM / "src" / "coachstream"]
    ignored = {"dist", ".venv"}
    for page in PAGES:
        for path in re.findall(r"`([a-zA-Z_./-]+/[a-zA-Z_./-]*)`", page.read_text()):
            if Path(path).parts[0] not in ignored:
                assert any((root / path).exists() for root in roots), f"{page.name}: {path}"


def test_the_release_page_names_the_tags_of_every_package() -> None:
    """Each package has its own tag."""
    page = PAGES[2].read_text()
    for package in sorted((ROOT / "packages").iterdir()):
        assert f"`{package.name}-v" in page
