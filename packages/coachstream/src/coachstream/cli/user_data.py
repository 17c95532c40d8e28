"""`coachstream user-data`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from coachstream.cli.backend_options import backend_choice, with_backend_options
from coachstream.cli.shared import DataFolder, fail
from coachstream.local.options import DEFAULT_DATA

if TYPE_CHECKING:
    from coachstream.local.user_data import Export
    from coachstream.settings import Settings

_INTERRUPTED = 130

user_data = typer.Typer(
    name="user-data",
    help="Export and delete all data of a user.",
    no_args_is_help=True,
    # Built separately from the program, whose settings it does not inherit.
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
)

User = Annotated[str, typer.Argument(metavar="USER", help="Id of the user: the claim custom:user_id.")]


@user_data.command(short_help="Write all records of a user.")
@with_backend_options
def export(
    *,
    user: User,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Write to this new file; FILE.part until it is complete, where a second run continues.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Continue an export to standard output behind this cursor."),
    ] = None,
    data: DataFolder = DEFAULT_DATA,
    **chosen: object,
) -> None:
    """Write all records of a user as JSON lines, to standard output or to a file.

    The last line has the type complete; an export without it was cut off.
    """
    import os

    from coachstream.local.user_data import (
        UserDataFailure,
        check_user_id,
        export_at,
        partial_file,
        settings_of,
    )

    if out is not None and after is not None:
        fail("--after is for standard output: a second run with --out finds its place in the file.")
    try:
        check_user_id(user)
        settings = settings_of(backend_choice(chosen), os.environ, data_dir=data)
        typer.echo(f"Exporting from {settings.store_place}.", err=True)
        if out is None:
            exporting = export_at(user, settings, after)
            with _saying_where_to_continue(exporting):
                _write(exporting, settings, sys.stdout.buffer)
        else:
            with (
                partial_file(user, settings, out) as (exporting, file),
                _saying_where_to_continue(exporting, out),
            ):
                _write(exporting, settings, file)
    except UserDataFailure as failure:
        fail(str(failure))
    except BrokenPipeError:
        raise  # the reader of the pipe has what it wanted
    except OSError as error:
        fail(f"{error.filename or out} cannot be written: {error.strerror}.")


@user_data.command(short_help="Delete what coachstream stored.")
@with_backend_options
def delete(
    *,
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    data: DataFolder = DEFAULT_DATA,
    **chosen: object,
) -> None:
    """Delete a user's conversations, memories and vectors, and print a report as JSON.

    Replies that are being written end. Coaches, workouts and the profile belong to other functions and stay.
    An interrupted deletion can be repeated. The exit status is 0 if everything is deleted.
    """
    import asyncio
    import os

    import msgspec

    from coachstream.local.user_data import (
        UserDataFailure,
        check_user_id,
        delete_from,
        places_of,
        require_chosen_recall,
        settings_of,
    )

    choice = backend_choice(chosen)
    try:
        check_user_id(user)
        settings = settings_of(choice, os.environ, data_dir=data)
        require_chosen_recall(settings, choice, os.environ)
        places = places_of(settings)
        _confirm(user, places, yes=yes)
        typer.echo(f"Deleting from {places}.", err=True)
        with _status("Deleting ..."):
            report = asyncio.run(delete_from(settings, user))
    except UserDataFailure as failure:
        fail(str(failure))
    except KeyboardInterrupt:
        typer.echo("Interrupted. What was deleted stays deleted; run the command again to go on.", err=True)
        raise typer.Exit(_INTERRUPTED) from None
    typer.echo(msgspec.json.format(msgspec.json.encode(report)).decode())
    if not report.is_complete:
        fail("The vectors could not be deleted, for the reason above. Run the command again.")


def _confirm(user: str, places: str, *, yes: bool) -> None:
    """Exit unless the deletion is wanted."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        fail("A deletion needs --yes where no one can be asked.")
    typer.echo(f"This deletes all conversations and memories of {user!r} from {places}.", err=True)
    typer.echo("It cannot be undone. Export them first if you need them.", err=True)
    if not typer.confirm("Delete them?", err=True):
        fail("Nothing was deleted.")


def _write(exporting: Export, settings: Settings, file: BinaryIO) -> None:
    """Write an export, and show its progress on a terminal that does not show the export itself."""
    import asyncio

    if before := exporting.position.records:
        typer.echo(f"Continuing behind {before:,} records.", err=True)

    def write(lines: bytes) -> None:
        file.write(lines)
        file.flush()

    with _status("Exporting ...", shows=not file.isatty()) as update:
        asyncio.run(exporting.run(settings, write, lambda records: update(f"{records:,} records")))
    typer.echo(f"Exported {exporting.position.records:,} records.", err=True)


@contextmanager
def _saying_where_to_continue(exporting: Export, out: Path | None = None) -> Iterator[None]:
    """Print after a failure, or after Ctrl-C, how to continue, and exit."""
    from coachstream.local.user_data import UserDataFailure

    status = 1
    try:
        yield
    except UserDataFailure as failure:
        problem = str(failure)
    except KeyboardInterrupt:
        problem, status = "Interrupted.", _INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        problem = f"{out or 'Standard output'} cannot be written: {error.strerror}."
    else:
        return
    if out is not None:
        remedy = "Run the same command again to continue."
    elif exporting.cursor is not None:
        remedy = f"Continue with --after {exporting.cursor}"
    else:
        remedy = "Nothing was exported."
    typer.secho(f"{problem}\n{remedy}", err=True, fg=typer.colors.RED)
    raise typer.Exit(status)


@contextmanager
def _status(text: str, *, shows: bool = True) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that the command is busy; the text can be changed."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not (shows and console.is_terminal):
        yield lambda _: None
        return
    with console.status(Text(text)) as status:
        yield lambda changed: status.update(Text(changed))
