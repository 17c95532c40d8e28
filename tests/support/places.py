"""Where things are in the checkout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
CACHE = ROOT / ".cache"
LAMBDA_STREAMING = ROOT / "packages" / "lambda-streaming"
COACHSTREAM = ROOT / "packages" / "coachstream"
CLIENT = ROOT / "packages" / "coachstream-js" / "src"
SOURCES = (LAMBDA_STREAMING / "src", COACHSTREAM / "src")
"""The source roots of the packages."""
