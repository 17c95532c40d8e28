"""Properties of the zip file itself."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from lambda_streaming.packaging.archive import write_archive


@pytest.mark.parametrize("mode", [0o755, 0o644], ids=["kept", "lost"])
def test_a_script_is_executable_whatever_its_mode_in_the_checkout(tmp_path: Path, mode: int) -> None:
    """The mode follows from the shebang line, because the same sources must give the same package."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in {
        "wrapper": "#!/bin/sh\n",
        "module.py": "#!/usr/bin/python\n",
        "LICENSE": "MIT\n",
    }.items():
        (folder / name).write_text(content)
        (folder / name).chmod(mode)
    write_archive(folder, tmp_path / "package.zip")
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
    assert modes == {"LICENSE": 0o644, "module.py": 0o644, "wrapper": 0o755}
