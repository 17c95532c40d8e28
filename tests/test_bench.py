"""The measurements in bench/ can be run; what they find depends on the machine, and is not tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.places import ROOT, TESTS

SCRIPTS = sorted(path.name for path in (ROOT / "bench").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_measurement_explains_itself(script: str, tmp_path: Path) -> None:
    """Also a check that everything it imports is still there."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / script), "--help"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
    assert done.stderr == ""
