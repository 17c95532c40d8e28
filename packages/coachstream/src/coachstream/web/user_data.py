"""The wire format of an export and of a deletion report.

An export is JSON lines. Each page of records ends with a `page` line, from which the export can be resumed.
The last line is `complete`, `reconnect` or `error`: a response without it was cut off.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from coachstream.conversation.errors import CoachStreamError, InvalidCursor
from coachstream.conversation.user_data import DeletionReport, RecordPage
from coachstream.web.conversations import SuccessBody
from coachstream.web.json_text import encode_json
from lambda_streaming.function_url.event import FunctionUrlEvent

CONTENT_TYPE = "application/x-ndjson; charset=utf-8"

RESPONSE_HEADERS = {
    "Content-Type": CONTENT_TYPE,
    "Cache-Control": "no-store",
    # nginx and similar proxies buffer responses by default.
    "X-Accel-Buffering": "no",
}

AFTER = "after"
"""The query parameter that resumes an export."""

_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,4096}")
_DIGEST_BYTES = 12


class RecordLine(msgspec.Struct, frozen=True, tag="record"):
    """A record as it is stored; bytes are base64, and sets are arrays."""

    kind: str
    id: str
    data: Mapping[str, object]


class PageLine(msgspec.Struct, frozen=True, tag="page"):
    """All records up to here were sent; `?after=` with `next` gives the ones behind them."""

    next: str


class CompleteLine(msgspec.Struct, frozen=True, tag="complete"):
    """The export is complete, with this number of records over all its responses. Always the last line."""

    records: int


class ReconnectLine(msgspec.Struct, frozen=True, tag="reconnect"):
    """The response ends, but the export goes on with `?after=`. Always the last line."""

    after: str


class ErrorLine(msgspec.Struct, frozen=True, tag="error"):
    """The export broke off; it can be resumed from the last `page` line. Always the last line."""

    message: str
    code: str
    retryable: bool


Line = RecordLine | PageLine | CompleteLine | ReconnectLine | ErrorLine


class ExportSource(msgspec.Struct, frozen=True):
    """What is exported.

    Attributes:
        user_id: whose records.
        place: where they are; a cursor of another table or database is not understood.
    """

    user_id: str
    place: str


class ExportPosition(msgspec.Struct, frozen=True):
    """How far an export has come.

    Attributes:
        after: `RecordPage.next` of the last page; None at the beginning.
        records: how many records came before.
    """

    after: str | None = None
    records: int = 0


class DeletedCounts(msgspec.Struct, frozen=True):
    """How much was deleted by this request."""

    conversations: int
    memories: int
    remnants: int


class UserDataDeletedBody(SuccessBody, frozen=True, kw_only=True, rename="camel"):
    """Response to the deletion of a user's data. Repeat the request until `isComplete` is true."""

    is_complete: bool
    deleted: DeletedCounts
    semantic_memory: bool | None
    left: Mapping[str, int] | None


_encoder = msgspec.json.Encoder(order="deterministic")
_decode_position = msgspec.json.Decoder(tuple[str, Annotated[int, msgspec.Meta(ge=0)]]).decode


def encode_line(line: Line) -> bytes:
    """The line with its line break. JSON escapes those within texts."""
    return encode_json(line, _encoder) + b"\n"


def encode_page(
    source: ExportSource, page: RecordPage, position: ExportPosition
) -> tuple[bytes, ExportPosition | None]:
    """The lines of the page behind a position, and the position behind it; None at the end of the export."""
    lines = [encode_line(RecordLine(record.kind, record.id, record.data)) for record in page.records]
    count = position.records + len(lines)
    if page.next is None:
        return b"".join((*lines, encode_line(CompleteLine(count)))), None
    position = ExportPosition(page.next, count)
    return b"".join((*lines, encode_line(PageLine(encode_cursor(source, position))))), position


def error_line(error: CoachStreamError) -> ErrorLine:
    """The line of an error; never its detail."""
    return ErrorLine(error.sentence, error.code.value, error.retryable)


def user_data_deleted(report: DeletionReport) -> UserDataDeletedBody:
    """The body that reports a deletion."""
    return UserDataDeletedBody(
        is_complete=report.is_complete,
        deleted=DeletedCounts(report.conversations, report.memories, report.remnants),
        semantic_memory=report.is_forgotten,
        left=report.left,
    )


def encode_cursor(source: ExportSource, position: ExportPosition) -> str:
    """A cursor that says how far an export has come.

    It has a digest, so that one that was cut off, altered, or belongs to another source is not understood.
    """
    content = msgspec.json.encode((position.after, position.records))
    return base64.urlsafe_b64encode(_digest(source, content) + content).rstrip(b"=").decode()


def decode_cursor(source: ExportSource, cursor: str) -> ExportPosition:
    """The position that a cursor of this source names.

    Raises:
        InvalidCursor: it is not understood.
    """
    if not _CURSOR.fullmatch(cursor) or len(cursor) % 4 == 1:
        raise InvalidCursor
    decoded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    digest, content = decoded[:_DIGEST_BYTES], decoded[_DIGEST_BYTES:]
    if digest != _digest(source, content):
        raise InvalidCursor
    try:
        return ExportPosition(*_decode_position(content))
    except msgspec.DecodeError:
        raise InvalidCursor from None


def position_of(event: FunctionUrlEvent, source: ExportSource) -> ExportPosition:
    """Where the request wants to go on; the beginning if it does not say.

    Raises:
        InvalidCursor: it says so in a way that is not understood, or twice.
    """
    given = event.query_values(AFTER)
    match given:
        case ():
            return ExportPosition()
        case (cursor,):
            return decode_cursor(source, cursor)
        case _:
            raise InvalidCursor


def _digest(source: ExportSource, content: bytes) -> bytes:
    covered = msgspec.json.encode((source.user_id, source.place)) + content
    return hashlib.sha256(covered).digest()[:_DIGEST_BYTES]
