"""The command line: `coachstream serve`, `chat`, `token`, `check`, `package`, `deploy`, `table create`."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line."""
    if find_spec("typer") is None:
        sys.exit("The commands need packages that are not installed: pip install coachstream")
    from coachstream.cli.app import app
    from lambda_streaming.emulator.command_line import run

    run(app)
