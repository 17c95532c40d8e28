"""Google's Lighthouse, which judges a page in the installed Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec

from support.chat_page import CHROMIUM
from support.patience import PATIENCE_S
from support.places import CACHE

LIGHTHOUSE = CACHE / "lighthouse" / "node_modules" / "lighthouse" / "cli" / "index.js"


class Category(msgspec.Struct, frozen=True):
    """One of Lighthouse's scores, from 0 to 1; None if it could not be had."""

    score: float | None


class Audit(msgspec.Struct, frozen=True, rename="camel"):
    """One of Lighthouse's findings."""

    title: str
    score: float | None = None
    numeric_value: float | None = None
    display_value: str = ""


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a report that is printed (lighthouse 12.8.2, `--output=json`)."""

    categories: dict[str, Category]
    audits: dict[str, Audit]

    @property
    def performance(self) -> float:
        """The score for performance."""
        return self.categories["performance"].score or 0.0


def run_lighthouse(url: str, folder: Path, *options: str) -> Report:
    """Load a page in a browser of its own, and return what was found, which is in `report.json`, too.

    Args:
        url: the page.
        folder: where the report and the browser's files go.
        options: more of Lighthouse's own. A phone with a slow network is simulated without any.
    """
    flags = "--chrome-flags=--headless --no-sandbox --disable-gpu"
    report = folder / "report.json"
    output = ("--output=json", f"--output-path={report}", "--quiet", "--no-enable-error-reporting")
    command = [shutil.which("node") or "node", str(LIGHTHOUSE), url, *output, flags, *options]
    environment = {**os.environ, "CHROME_PATH": CHROMIUM or "", "TMPDIR": str(folder)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return msgspec.json.decode(report.read_bytes(), type=Report)
