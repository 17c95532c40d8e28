"""The templates checked by cfn-lint, with AWS's resource schemas and its own rules."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.templates import Template

REGIONS = ("us-west-2", "eu-central-1")

_LINTER = Path(sys.executable).with_name("cfn-lint")


def lint(*paths: Path) -> subprocess.CompletedProcess[str]:
    """Run cfn-lint without the settings of this machine or folder."""
    folder = paths[0].parent
    return subprocess.run(
        [_LINTER, "--format", "parseable", "--regions", *REGIONS, "--template", *map(str, paths)],
        cwd=folder,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_there_is_nothing_to_find_in_any_variant(templates: Mapping[str, Template], tmp_path: Path) -> None:
    """Checked for two regions."""
    for name, template in templates.items():
        (tmp_path / f"{name}.json").write_text(template.text)
    found = lint(*sorted(tmp_path.glob("*.json")))
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_what_is_wrong_would_be_found(templates: Mapping[str, Template], tmp_path: Path) -> None:
    """A URL with an unknown invoke mode proves that the linter runs."""
    broken = tmp_path / "Broken.json"
    broken.write_text(templates["New"].text.replace('"RESPONSE_STREAM"', '"STREAM"'))
    found = lint(broken)
    assert found.returncode != 0
    assert "E3030" in found.stdout
