"""The command line: `coachstream serve`, `chat`, `token`, `check`, `package`, `deploy`, `table create`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_WRONG_USAGE = 2
_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    if find_spec("typer") is None:
        sys.exit("The commands need packages that are not installed: pip install 'coachstream[local]'")
    import typer

    from coachstream.cli.app import app
    from coachstream.cli.usage_errors import sentence_of

    try:
        status: int | None = app(standalone_mode=False)
    except typer.Abort:
        sys.exit(_INTERRUPTED)
    except typer.TyperException as error:
        context: typer.Context | None = getattr(error, "ctx", None)
        sentence = sentence_of(error)
        if context is not None and sentence == context.get_help():
            typer.echo(sentence)  # nothing was typed after the command's name
            sys.exit(_WRONG_USAGE)
        typer.secho(sentence, err=True, fg=typer.colors.RED)
        if context is not None:
            typer.echo(f"See `{context.command_path} --help`.", err=True)
        sys.exit(_WRONG_USAGE)
    sys.exit(status)
