"""What `ampx` says of a backend that should not be deployed."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.amplify import Apps


def test_users_who_can_write_their_own_id_are_refused(apps: Apps, tmp_path: Path) -> None:
    """Amplify's own client lets them, and whoever can write an id can become anybody."""
    run = apps.synthesize({"careless": tmp_path / "assembly"})
    assert run.returncode != 0
    assert "users can write custom:user_id themselves" in run.stderr
    assert "cfnUserPoolClient.writeAttributes" in run.stderr


def test_a_package_that_was_not_made_is_missed(apps: Apps, tmp_path: Path) -> None:
    """And how to make one is told."""
    shutil.copytree(apps.folder / "careless", tmp_path / "careless")
    (tmp_path / "node_modules").symlink_to(apps.libraries / "node_modules")
    shutil.copy(apps.folder / "synthesize.mjs", tmp_path)
    function = tmp_path / "careless" / "amplify" / "functions" / "stream-coach-conversation"
    (function / "coachstream.zip").unlink()
    run = Apps(tmp_path, apps.libraries).synthesize({"careless": tmp_path / "assembly"})
    assert run.returncode != 0
    assert "Failed to instantiate custom function provider" in run.stderr
    assert f"there is no package at {function}/coachstream.zip; `coachstream package` makes one" in run.stderr
