"""The CDK toolkit, the program `cdk`, which compares and deploys what `app` defines; needs no CDK library."""

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
"""What is fetched where no `cdk` is installed; tried with the library that is pinned."""

NODE_AT_LEAST = 18
"""The oldest release line that the toolkit runs on: `engines` of `NPM_PACKAGE`."""

NODE_SUPPORTED = 22
"""The oldest release line that AWS CDK supports; half a year longer than Node.js itself."""

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
    """What the toolkit is to do."""

    SYNTH = "synth"
    """Write the template; asks nothing of AWS."""
    DIFF = "diff"
    """Compare it with what is deployed."""
    DEPLOY = "deploy"


class ToolkitError(Exception):
    """The toolkit cannot be run, or did not succeed; the message says what to do.

    Attributes:
        status: to exit with.
    """

    def __init__(self, sentence: str, *, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


def run(action: Action, environment: Mapping[str, str], *arguments: str, output: Path) -> None:
    """Run the toolkit on the app, on this terminal, and wait for it.

    Args:
        action: what to do.
        environment: of the toolkit and of the app (see `options`), whole.
        *arguments: what to add to the command.
        output: the folder for what is synthesized.

    Raises:
        ToolkitError: there is no Node.js or one that is too old, or the toolkit failed, and has said why.
    """
    path = environment.get("PATH")
    node = _check_node(path)
    # Ten framed lines a run, about a Node.js that is new enough for us.
    quiet = {f"JSII_SILENCE_WARNING_{each}_NODE_VERSION": str(node) for each in _JSII_WARNINGS}
    app = shlex.join([sys.executable, "-m", "coachstream.infrastructure.app"])
    command = [*_toolkit(path), action, "--app", app, "--output", str(output), *arguments]
    try:
        status = subprocess.run(command, env={**quiet, **environment}, check=False).returncode  # noqa: S603 (ours)
    except KeyboardInterrupt:
        # The toolkit got the same Ctrl-C; what CloudFormation has begun it finishes or rolls back by itself.
        raise ToolkitError("Interrupted. CloudFormation may still be at work.", status=_INTERRUPTED) from None
    if status != 0:
        raise ToolkitError(f"cdk {action} did not succeed; it says why above.", status=1)


def check_toolkit(environment: Mapping[str, str]) -> None:
    """Find Node.js and the toolkit, or what fetches it; warn of a Node.js without support.

    Raises:
        ToolkitError: as `run` does.
    """
    path = environment.get("PATH")
    node = _check_node(path)
    _toolkit(path)
    if node < NODE_SUPPORTED:
        logger.warning("AWS CDK no longer supports Node.js %d; update to %d.", node, NODE_SUPPORTED)


def _toolkit(path: str | None) -> list[str]:
    """The toolkit that is installed, or the one that npm fetches; version 2, as the library is."""
    installed = shutil.which("cdk", path=path)
    if installed and _major([installed, "--version"]) == _MAJOR:
        return [installed]
    if npx := shutil.which("npx", path=path):
        return [npx, "--yes", NPM_PACKAGE]
    raise ToolkitError(
        "The CDK toolkit is not installed, and neither is npx to fetch it: npm install -g aws-cdk@2"
    )


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
    """The first number that a program gives as its version; 0 where it gives none."""
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 (found by name)
    number = re.search(r"\d+", said)
    return int(number[0]) if number else 0
