"""What Lighthouse says of the chat page, on a phone with a slow network.

    tests/browser/lighthouse/install.sh
    PYTHONPATH=tests .venv/bin/python bench/lighthouse.py [--runs 5] [--desktop]

It loads the page of `coachstream serve` in the installed Chromium, with Lighthouse's default (simulated)
throttling. The metrics are simulated from this machine's own times, so they are only comparable with those of
the same machine, and of another run of it; the median run counts.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from support.chat_page import CHROMIUM
from support.lighthouse import LIGHTHOUSE, Report, run_lighthouse
from support.serving import serving

GOOD = 0.9
METRICS = (
    "first-contentful-paint",
    "largest-contentful-paint",
    "speed-index",
    "total-blocking-time",
    "cumulative-layout-shift",
    "interactive",
)


def show(reports: Sequence[Report]) -> None:
    """Print the median run, and what it finds wanting."""
    median = sorted(reports, key=lambda report: report.performance)[len(reports) // 2]
    scores = [report.performance for report in reports]
    print(f"performance  {statistics.median(scores):.2f}  ({', '.join(f'{score:.2f}' for score in scores)})")
    for name, category in median.categories.items():
        if name != "performance":
            print(f"{name}  {category.score or 0.0:.2f}")
    for name in METRICS:
        print(f"    {median.audits[name].title:26} {median.audits[name].display_value}")
    print(f"below {GOOD}:")
    for name, audit in median.audits.items():
        if audit.score is not None and audit.score < GOOD and name not in METRICS:
            print(f"    {name}: {audit.title} {audit.display_value}")


def main() -> None:
    """Run Lighthouse, and print what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="how often the page is loaded (5)")
    parser.add_argument("--desktop", action="store_true", help="a desktop computer instead of a phone")
    parser.add_argument("--keep", type=Path, help="a file or folder for the last run's report")
    arguments = parser.parse_args()
    if not LIGHTHOUSE.exists() or CHROMIUM is None:
        sys.exit("Needs Chromium, and Lighthouse: tests/browser/lighthouse/install.sh")
    options = ["--preset=desktop"] if arguments.desktop else []
    with tempfile.TemporaryDirectory() as name, serving(Path(name) / "data") as server:
        folder = Path(name)
        reports = [run_lighthouse(server.ready.url, folder, *options) for _ in range(arguments.runs)]
        if arguments.keep is not None:
            shutil.copy(folder / "report.json", arguments.keep)
    show(reports)


if __name__ == "__main__":
    main()
