"""Executes a Dockerfile in a plain folder, with this machine's Python, to get the files of its image.

It supports the instructions that ours uses; any other is an error. Every stage has a folder as its root, and
all paths in `RUN` must be relative, because there is no chroot.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.patience import PATIENCE_S

#: Set by AWS's base images (Lambda developer guide, "Deploy Python Lambda functions with container images").
BASE_IMAGE = {"LAMBDA_TASK_ROOT": "/var/task"}


@dataclass
class Stage:
    """The current state of one stage."""

    root: Path
    folder: str = "/var/task"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def place(self, path: str) -> Path:
        """The place of an image path on this machine."""
        return self.root / os.path.normpath(os.path.join(self.folder, path)).lstrip("/")  # noqa: PTH118 (posix)


def carry_out(dockerfile: Path, context: Path, folder: Path) -> Stage:
    """Execute a Dockerfile and return its last stage."""
    ignored = Ignored(dockerfile.with_name(f"{dockerfile.name}.dockerignore"))
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for instruction, text in _instructions(dockerfile):
        if instruction == "ARG":
            continue
        if instruction == "FROM":
            name = text.split(" AS ")[1] if " AS " in text else "last"
            stage = stages[name] = Stage(folder / name)
            stage.place("").mkdir(parents=True)
            continue
        assert stage is not None, "an instruction before FROM"
        match instruction:
            case "WORKDIR":
                stage.folder = text
                stage.place("").mkdir(parents=True, exist_ok=True)
            case "RUN":
                _run(text, stage)
            case "COPY":
                _copy(text, stage, stages, context, ignored)
            case "ENTRYPOINT":
                stage.entrypoint = json.loads(text)
            case "CMD":
                stage.command = json.loads(text)
            case _:
                raise NotImplementedError(instruction)
    assert stage is not None
    return stage


class Ignored:
    """A `.dockerignore`: the last pattern that matches a path or one of its parents decides."""

    def __init__(self, path: Path) -> None:
        lines = (line.strip() for line in path.read_text().splitlines())
        self._patterns = [line for line in lines if line and not line.startswith("#")]

    def __call__(self, path: str) -> bool:
        """Whether a path of the context is excluded."""
        parts = path.split("/")
        above = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        verdict = False
        for pattern in self._patterns:
            plain = pattern.removeprefix("!")
            if any(_fits(each, plain) for each in above):
                verdict = not pattern.startswith("!")
        return verdict


def _fits(path: str, pattern: str) -> bool:
    """Match as in Docker's reference, ".dockerignore file": `**` stands for any number of folders."""
    expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.fullmatch(expression, path) is not None


def _instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    lines = (line for line in dockerfile.read_text().splitlines() if not line.startswith("#"))
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction, _, rest = line.partition(" ")
        yield instruction, rest.strip()


def _run(text: str, stage: Stage) -> None:
    programs = stage.root.with_name(f"{stage.root.name}.bin")
    programs.mkdir(exist_ok=True)
    python = programs / "python"
    if not python.exists():
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        ["sh", "-ec", text],
        cwd=stage.place(""),
        env={**environment, **BASE_IMAGE, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def _copy(text: str, stage: Stage, stages: Mapping[str, Stage], context: Path, ignored: Ignored) -> None:
    *options, source, destination = shlex.split(text)
    destination = re.sub(r"\$\{(\w+)\}", lambda name: BASE_IMAGE[name[1]], destination)
    origin = [option.removeprefix("--from=") for option in options]
    if origin:
        shutil.copytree(stages[origin[0]].place(source), stage.place(destination), dirs_exist_ok=True)
        return
    found = context / source
    for path in [found] if found.is_file() else sorted(found.rglob("*")):
        name = path.relative_to(context).as_posix()
        if path.is_file() and not ignored(name):
            below = "" if found.is_file() else path.relative_to(found).as_posix()
            place = stage.place(destination) / below
            place.parent.mkdir(parents=True, exist_ok=True)
            # Docker copies a link as a link, too.
            shutil.copy(path, place, follow_symlinks=False)
