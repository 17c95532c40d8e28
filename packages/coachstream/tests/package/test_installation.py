"""The source of the dependencies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.patience import PATIENCE_S

NOWHERE = "http://127.0.0.1:9"
"""The discard port, on which no server listens."""


def without_index(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `coachstream package` in a folder, with an empty uv cache."""
    ours = {"UV_CACHE_DIR": str(folder / "cache"), "UV_HTTP_RETRIES": "0", **settings}
    theirs = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    return subprocess.run(
        [sys.executable, "-m", "coachstream.cli", "package", "--output", "package.zip"],
        cwd=folder,
        env={**theirs, **ours},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_an_unreachable_index_is_reported_with_the_remedy(tmp_path: Path) -> None:
    """The error names the index and how to set another; no package is written."""
    refused = without_index(tmp_path, UV_DEFAULT_INDEX=f"{NOWHERE}/simple")
    assert refused.returncode == 1
    assert f"Failed to fetch: {NOWHERE}/simple/" in refused.stderr.replace("`", "")
    assert "uv reads a different index from UV_DEFAULT_INDEX" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.glob("*.zip")) == []


def test_the_user_s_mirror_is_asked_and_not_the_one_of_the_folder_s_project(tmp_path: Path) -> None:
    """A user's settings apply everywhere; a project's settings apply only to that project."""
    (tmp_path / "uv.toml").write_text(f'index-url = "{NOWHERE}/project"\n')
    (tmp_path / "config" / "uv").mkdir(parents=True)
    (tmp_path / "config" / "uv" / "uv.toml").write_text(f'index-url = "{NOWHERE}/user"\n')
    refused = without_index(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "config"))
    assert refused.returncode == 1
    assert f"{NOWHERE}/user/" in refused.stderr
    assert f"{NOWHERE}/project" not in refused.stderr


def test_the_output_s_folder_is_tried_before_anything_is_fetched(tmp_path: Path) -> None:
    """A user without write access need not wait for the downloads to find out."""
    (tmp_path / "dist").write_text("a file, where a folder is to be")
    refused = subprocess.run(
        [sys.executable, "-m", "coachstream.cli", "package", "--output", "dist/package.zip"],
        cwd=tmp_path,
        env={**os.environ, "UV_DEFAULT_INDEX": f"{NOWHERE}/simple", "UV_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert refused.returncode == 1
    assert "dist" in refused.stderr
    assert "uv" not in refused.stderr
