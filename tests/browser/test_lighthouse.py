"""What Lighthouse says of the page, apart from what depends on how fast the machine is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.chat_page import CHROMIUM
from support.lighthouse import LIGHTHOUSE, run_lighthouse
from support.serving import Serving

#: Without the ones whose score is a time.
CATEGORIES = {"accessibility", "best-practices", "seo"}


@pytest.mark.peer
@pytest.mark.parametrize("options", [(), ("--preset=desktop",)], ids=["phone", "desktop"])
async def test_lighthouse_finds_nothing_wrong_with_the_page(
    server: Serving, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """What it says of the page's speed, `bench/lighthouse.py` prints."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    if not LIGHTHOUSE.exists():
        pytest.skip("needs Lighthouse: tests/browser/lighthouse/install.sh")
    only = f"--only-categories={','.join(sorted(CATEGORIES))}"
    report = await asyncio.to_thread(run_lighthouse, server.ready.url, tmp_path, only, *options)
    scores = {name: category.score for name, category in report.categories.items()}
    assert scores == dict.fromkeys(CATEGORIES, 1)
