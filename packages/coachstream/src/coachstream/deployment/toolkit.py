"""Runs the CDK toolkit, the program `cdk`, on `app`; needs no CDK library."""

from __future__ import annotations

import logging
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path

from coachstream.dated_facts import Provenance

logger = logging.getLogger("coachstream.deploy")

NPM_PACKAGE = "aws-cdk@2.1148.1"
"""Fetched if `cdk` is not installed; tested with the pinned library."""

NODE_AT_LEAST = 18
"""The oldest major version that the toolkit runs on: `engines` of `NPM_PACKAGE`."""

NODE_SUPPORTED = 22
"""The oldest major version that AWS CDK supports, half a year longer than Node.js itself."""

DATED_FACTS: Mapping[str, Provenance] = {
    f"AWS CDK supports Node.js {NODE_SUPPORTED}": Provenance(
        source='AWS CDK developer guide, "Supported Node.js versions for the AWS CDK"',
        looked_up=date(2026, 11, 27),
        ends=date(2027, 10, 30),
    ),
}

_JSII_WARNINGS = ("UNTESTED", "DEPRECATED", "END_OF_LIFE")

_MAJOR = 2
_INTERRUPTED = 130


class Action(StrEnum):
    """The commands of the toolkit."""

    SYNTH = "synth"
    """Write the template, without requests to AWS."""
    DIFF = "diff"
    """Compare it with the deployed stack."""
    DEPLOY = "deploy"


class ToolkitError(Exception):
    """The toolkit cannot be run, or failed; the message has the remedy.

    Attributes:
        status: the exit status.
    """

    def __init__(self, sentence: str, *, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


def run(action: Action, environment: Mapping[str, str], *arguments: str, output: Path) -> None:
    """Run the toolkit on the app, in this terminal, and wait for it.

    Args:
        action: the command.
        environment: the whole environment of the toolkit and of the app (see `options`).
        *arguments: further arguments of the command.
        output: the folder for the synthesized assembly.

    Raises:
        ToolkitError: Node.js is missing or too old, or the toolkit failed and has printed the reason.
    """
    path = environment.get("PATH")
    node = _check_node(path)
    # Suppresses ten framed lines per run about a Node.js version that is new enough.
    quiet = {f"JSII_SILENCE_WARNING_{each}_NODE_VERSION": str(node) for each in _JSII_WARNINGS}
    app = shlex.join([sys.executable, "-m", "coachstream.deployment.app"])
    command = [*_toolkit(path), action, "--app", app, "--output", str(output), *arguments]
    try:
        status = subprocess.run(command, env={**quiet, **environment}, check=False).returncode  # noqa: S603 (ours)
    except KeyboardInterrupt:
        # The toolkit received the same Ctrl-C; CloudFormation finishes or rolls back by itself.
        raise ToolkitError("Interrupted. CloudFormation may still be running.", status=_INTERRUPTED) from None
    if status != 0:
        raise ToolkitError(f"cdk {action} failed; the reason is above.", status=1)


def check_toolkit(environment: Mapping[str, str]) -> None:
    """Find Node.js and the toolkit, or npx to fetch it; warn about an unsupported Node.js.

    Raises:
        ToolkitError: as `run` does.
    """
    path = environment.get("PATH")
    node = _check_node(path)
    _toolkit(path)
    if node < NODE_SUPPORTED:
        logger.warning("AWS CDK no longer supports Node.js %d; update to %d.", node, NODE_SUPPORTED)


def _toolkit(path: str | None) -> list[str]:
    """The installed toolkit, or the one that npx fetches; version 2, like the library."""
    installed = shutil.which("cdk", path=path)
    if installed and _major([installed, "--version"]) == _MAJOR:
        return [installed]
    if npx := shutil.which("npx", path=path):
        return [npx, "--yes", NPM_PACKAGE]
    raise ToolkitError("Neither the CDK toolkit nor npx, to fetch it, is installed: npm install -g aws-cdk@2")


def _check_node(path: str | None) -> int:
    """The major version of Node.js."""
    node = shutil.which("node", path=path)
    if node is None:
        raise ToolkitError("AWS CDK needs Node.js, which is not installed: https://nodejs.org")
    version = _major([node, "--version"])
    if version < NODE_AT_LEAST:
        raise ToolkitError(f"AWS CDK needs Node.js {NODE_AT_LEAST} or newer; {node} is older.")
    return version


def _major(command: list[str]) -> int:
    """The first number in a program's version output; 0 if there is none."""
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 (found by name)
    number = re.search(r"\d+", said)
    return int(number[0]) if number else 0
