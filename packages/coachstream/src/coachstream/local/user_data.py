"""`coachstream user-data`: an export into a file or a pipe, and a deletion, directly on the backends."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from coachstream.conversation.errors import CoachStreamError, InvalidCursor, MissingPathParams
from coachstream.conversation.turn.deadline import run_shielded
from coachstream.conversation.user_data import RecordPage, delete_user_data
from coachstream.extras import missing_packages
from coachstream.local.backends import environment_of, in_a_region
from coachstream.local.options import BackendChoice, CannotServe
from coachstream.private_files import FILE_MODE
from coachstream.services import Services
from coachstream.settings import (
    DynamoDbSettings,
    PineconeSettings,
    RecallOff,
    Settings,
    SettingsError,
    SqliteRecallSettings,
    SqliteStoreSettings,
    unknown_variables,
)
from coachstream.settings import variables as v
from coachstream.web.routes import Resource, match_path
from coachstream.web.user_data import (
    ExportPosition,
    ExportSource,
    PageLine,
    UserDataDeletedBody,
    decode_cursor,
    encode_cursor,
    encode_page,
    user_data_deleted,
)

_PAGE_LINE = b'{"type":"page",'
_STARTS = (b'{"type":"record","kind":"', b'{"type":"complete","records":', _PAGE_LINE)
"""How the first line of an export can begin."""


class UserDataFailure(Exception):
    """The command cannot do its work, or not to the end; the message has the reason and the remedy."""


def settings_of(choice: BackendChoice, environment: Mapping[str, str], *, data_dir: Path) -> Settings:
    """The settings: the options, or else the environment, or else the defaults of `coachstream serve`.

    Not to be called on an event loop.

    Raises:
        UserDataFailure: they are invalid, a package or the region is missing, or there is no database yet.
    """
    problems = unknown_variables(environment)
    try:
        settings = Settings.from_environment(environment_of(choice, environment, data_dir=data_dir))
    except CannotServe as error:
        raise UserDataFailure(str(error)) from error
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise UserDataFailure("\n".join(f"{problem}." for problem in problems))
    if missing := missing_packages(settings):
        raise UserDataFailure("\n".join(map(str, missing)))
    store = settings.store
    if isinstance(store, SqliteStoreSettings) and not store.path.exists():
        raise UserDataFailure(
            f"There is no database {store.path}. --data names another folder, --store dynamodb a table."
        )
    try:
        return asyncio.run(in_a_region(settings))
    except CannotServe as error:
        raise UserDataFailure(str(error)) from error


def require_chosen_recall(settings: Settings, choice: BackendChoice, environment: Mapping[str, str]) -> None:
    """Refuse to guess where the vectors of the users of a table are.

    Raises:
        UserDataFailure: neither an option nor a variable says it.
    """
    is_chosen = choice.recall is not None or environment.get(v.RECALL.name, "").strip()
    if isinstance(settings.store, DynamoDbSettings) and not is_chosen:
        raise UserDataFailure(
            "Where are the vectors? Add --recall pinecone for the index that the environment names, or "
            "--recall off if there are none."
        )
    if isinstance(settings.recall, RecallOff) and settings.recall.is_key_missing:
        raise UserDataFailure("The vectors cannot be deleted: PINECONE_API_KEY is not set.")


def places_of(settings: Settings) -> str:
    """Where a deletion deletes, for a person who is asked whether it may."""
    match settings.recall:
        case PineconeSettings(index_host=host):
            vectors = f"vectors from the index {host}"
        case SqliteRecallSettings(path=path):
            vectors = f"vectors from the database {path}"
        case RecallOff():
            vectors = "no vectors"
    return f"{settings.store_place}, and {vectors}"


def check_user_id(user_id: str) -> None:
    """Raises `UserDataFailure` for what can be no user's id."""
    with suppress(MissingPathParams):
        match_path(("users", user_id, Resource.EXPORT))
        if user_id:
            return
    raise UserDataFailure(f"{user_id!r} cannot be the id of a user.")


class Export:
    """One export, and how far it has come.

    Attributes:
        position: behind the last page that was written.
        is_complete: whether everything was written.
    """

    def __init__(self, source: ExportSource, position: ExportPosition) -> None:
        """Begin or continue at a position."""
        self._source = source
        self.position = position
        self.is_complete = False

    @property
    def cursor(self) -> str | None:
        """What continues the export; None if it has to begin at the beginning."""
        return None if self.position.after is None else encode_cursor(self._source, self.position)

    async def run(
        self, settings: Settings, write: Callable[[bytes], object], on_page: Callable[[int], object]
    ) -> None:
        """Write all pages, and report the number of records after each.

        Raises:
            UserDataFailure: the store failed; `position` says how far it came.
        """
        async with aclosing(Services(settings)) as services:
            while not self.is_complete:
                with _failures("The export stopped"):
                    page = await services.store.read_records(self._source.user_id, after=self.position.after)
                # So that the position is that of the output, also after Ctrl-C.
                await run_shielded(self._write(page, write))
                on_page(self.position.records)

    async def _write(self, page: RecordPage, write: Callable[[bytes], object]) -> None:
        lines, position = encode_page(self._source, page, self.position)
        await asyncio.to_thread(write, lines)
        records = self.position.records + len(page.records)
        self.is_complete = position is None
        self.position = position or msgspec.structs.replace(self.position, records=records)


def export_at(user_id: str, settings: Settings, cursor: str | None) -> Export:
    """An export that continues at a cursor. Raises `UserDataFailure` if that is not understood."""
    source = ExportSource(user_id, settings.store_place)
    try:
        position = ExportPosition() if cursor is None else decode_cursor(source, cursor)
    except InvalidCursor:
        raise UserDataFailure("--after is not a cursor of an export of this user from this place.") from None
    return Export(source, position)


@contextmanager
def partial_file(user_id: str, settings: Settings, path: Path) -> Iterator[tuple[Export, BinaryIO]]:
    """Open `<path>.part`, behind the last whole page in it, and rename it once the export is complete.

    The file is private. What follows the last whole page, from an interrupted run, is written again.

    Raises:
        UserDataFailure: the file exists, belongs to another export or program, or is being written.
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    _refuse_existing(path)
    with open(part, "a+b", opener=_private_if_new) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserDataFailure(f"{part} is being written by another run.") from None
        _refuse_existing(path)  # by a run that has ended since
        try:
            cursor, end = _last_page(file)
            export = export_at(user_id, settings, cursor)
        except (UserDataFailure, msgspec.DecodeError):
            raise UserDataFailure(
                f"{part} is of another export, or none. Choose another name, or delete it to begin again."
            ) from None
        os.fchmod(file.fileno(), FILE_MODE)
        file.truncate(end)
        yield export, file
        file.flush()
        os.fsync(file.fileno())
        if export.is_complete:
            part.rename(path)


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise UserDataFailure(f"{path} exists already. Choose another name, or delete it.")


def _private_if_new(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, FILE_MODE)


def _last_page(file: BinaryIO) -> tuple[str | None, int]:
    """The cursor of the last whole page in the file, and where that ends.

    Raises:
        msgspec.DecodeError: the file is not the beginning of an export.
    """
    cursor, end, read = None, 0, 0
    file.seek(0)
    for line in file:
        if not read and not any(line.startswith(start[: len(line)]) for start in _STARTS):
            raise msgspec.DecodeError
        read += len(line)
        if line.startswith(_PAGE_LINE) and line.endswith(b"\n"):
            cursor, end = msgspec.json.decode(line, type=PageLine).next, read
    return cursor, end


async def delete_from(settings: Settings, user_id: str) -> UserDataDeletedBody:
    """Delete a user's data, however long it takes.

    Raises:
        UserDataFailure: the store failed; what is deleted stays deleted.
    """
    async with aclosing(Services(settings)) as services:
        with _failures("The deletion stopped; run the command again to go on"):
            report = await delete_user_data(user_id, store=services.store, recall=services.recall)
    return user_data_deleted(report)


@contextmanager
def _failures(what: str) -> Iterator[None]:
    try:
        yield
    except CoachStreamError as error:
        remedy = f" {error.remedy}" if error.remedy else ""
        raise UserDataFailure(f"{what}: {str(error).removesuffix('.')}.{remedy}") from error
