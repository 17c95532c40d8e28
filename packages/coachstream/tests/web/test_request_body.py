from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import (
    AttachmentRejected,
    CoachStreamError,
    InvalidClientMessageId,
    InvalidJson,
    InvalidRequest,
    InvalidTimestamp,
    InvalidTimeZone,
    InvalidUserResponse,
    MessageTooLong,
    MissingRequestBody,
    RequestError,
)
from coachstream.conversation.model import ConversationChange, format_timestamp
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.conversation.visible_text import is_blank
from coachstream.web.request_body import (
    MAX_MESSAGE_CHARS,
    MAX_TAG_CHARS,
    MAX_TAGS,
    MAX_TITLE_CHARS,
    NewConversation,
    NewMessage,
    parse_conversation_change,
    parse_new_conversation,
    parse_new_message,
)

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, UTC)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def parse(**fields: object) -> NewMessage:
    return parse_new_message(json.dumps(fields).encode(), received_at=NOW)


def test_a_message_with_every_field_is_read() -> None:
    """The text is kept unchanged; the time becomes UTC, truncated to milliseconds."""
    assert parse(
        userResponse="  Hi 🏋️\n",
        messageTimestamp="2026-03-01T13:00:00.1239+01:00",
        clientMessageId="a-Z_9",
        userTimezone="America/Argentina/Buenos_Aires",
        unknown={"ignored": True},
    ) == NewMessage(
        "  Hi 🏋️\n",
        datetime(2026, 3, 1, 12, 0, 0, 123000, UTC),
        "a-Z_9",
        "America/Argentina/Buenos_Aires",
    )


def test_without_a_time_the_message_was_sent_when_it_arrived() -> None:
    """`messageTimestamp` and `clientMessageId` may be absent or null."""
    sent_at = NOW.replace(microsecond=123000)
    assert parse(userResponse="Hi") == NewMessage("Hi", sent_at)
    assert parse(userResponse="Hi", messageTimestamp=None, clientMessageId=None) == NewMessage("Hi", sent_at)


ATTACHMENTS: list[tuple[str, object]] = [
    ("attachments", [{"type": "image", "key": "user-uploads/sam/a.png"}]),
    ("imageS3Keys", ["user-uploads/sam/a.png"]),
    ("documentS3Keys", ["user-uploads/sam/a.pdf"]),
    ("image_url", "data:image/png;base64,AAAA"),
    ("IMAGES", ["a"]),
    ("files", {"0": "a"}),
    ("audioBlob", "AAAA"),
    ("content", [{"type": "text", "text": "Hi"}]),
    ("parts", [{"text": "Hi"}]),
    ("messageType", "text_with_images"),
    ("messageType", ["voice"]),
    ("hasImages", True),
]

EMPTY: tuple[object, ...] = (None, "", [], {}, False)


@pytest.mark.parametrize(("name", "value"), ATTACHMENTS)
@pytest.mark.parametrize("text", ["What do you think?", "", None])
def test_content_besides_the_text_is_refused_and_never_ignored(
    name: str, value: object, text: str | None
) -> None:
    """With a text and without one: the error is about the attachment, which is what the user must know."""
    with pytest.raises(AttachmentRejected):
        parse(userResponse=text, **{name: value})
    with pytest.raises(AttachmentRejected):
        parse_new_conversation(json.dumps({"initialMessage": text, name: value}).encode())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, empty) for name, _ in ATTACHMENTS[:-3] for empty in EMPTY),
        ("messageType", "text"),
        ("messageType", None),
        ("editContext", {"workoutId": "ws_1"}),
        ("userProfile", {"name": "Ana"}),
        ("mode", "chat"),
    ],
)
def test_no_attachment_and_other_fields_are_ignored(name: str, value: object) -> None:
    """A client may always send the list of its attachments, and what a later version knows."""
    assert parse(userResponse="Hi", **{name: value}).text == "Hi"


@pytest.mark.parametrize("body", [b'{"images": 1e999, "userResponse": "Hi"}', b'{"files": ' + b"[" * 9_999])
def test_an_attachment_that_cannot_be_read_is_refused(body: bytes) -> None:
    """Whichever of the two it is."""
    with pytest.raises((AttachmentRejected, InvalidJson)):
        parse_new_message(body, received_at=NOW)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "Etc/GMT+8", "Etc/Unknown"])
def test_a_time_zone_is_taken_by_the_form_of_its_name(zone: str) -> None:
    """Whether the database has it is found out later: the browser's may be newer."""
    assert parse(userResponse="Hi", userTimezone=zone).time_zone == zone
    created = parse_new_conversation(json.dumps({"initialMessage": "Hi", "userTimezone": zone}).encode())
    assert created.time_zone == zone


@pytest.mark.parametrize("zone", [None, ""])
def test_no_time_zone_is_none(zone: str | None) -> None:
    """As absent, as null and as an empty text."""
    assert parse(userResponse="Hi", userTimezone=zone).time_zone is None
    assert parse(userResponse="Hi").time_zone is None


@pytest.mark.parametrize("zone", [7, True, ["UTC"], "../etc/passwd", "localtime", "+02:00", "UTC ", "A" * 65])
def test_what_is_no_name_of_a_time_zone_is_refused(zone: object) -> None:
    """A path, an offset and the server's own zone are no names."""
    with pytest.raises(InvalidTimeZone):
        parse(userResponse="Hi", userTimezone=zone)
    with pytest.raises(InvalidTimeZone):
        parse_new_conversation(json.dumps({"userTimezone": zone}).encode())


@pytest.mark.parametrize("body", [None, b"", b" \r\n\t"])
def test_a_missing_body_is_distinguished_from_an_invalid_one(body: bytes | None) -> None:
    """A request without content has its own error."""
    with pytest.raises(MissingRequestBody):
        parse_new_message(body, received_at=NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{} {}",
        b'{"userResponse": NaN}',
        b'{"userResponse": "\\ud83"}',
        b'{"userResponse": "\\x"}',
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_no_json_object_is_invalid_json(body: bytes) -> None:
    """Broken JSON, and anything but an object."""
    with pytest.raises(InvalidJson):
        parse_new_message(body, received_at=NOW)


@pytest.mark.parametrize(
    "text",
    [None, "", " \n\t\u3000", "\u3164\u2800\U000e0101", "\x1b\u200d", 7, True, ["Hi"], {"text": "Hi"}],
)
def test_a_message_without_words_is_refused(text: object) -> None:
    """Missing, blank, invisible and wrongly typed text are the same error."""
    with pytest.raises(InvalidUserResponse):
        parse(userResponse=text)
    with pytest.raises(InvalidUserResponse):
        parse()


@pytest.mark.parametrize("character", ["a", "é", "🏋"])
def test_the_length_limit_counts_code_points(character: str) -> None:
    """A message at the limit passes and one character more is refused, whatever the bytes."""
    assert len(parse(userResponse=character * MAX_MESSAGE_CHARS).text) == MAX_MESSAGE_CHARS
    with pytest.raises(MessageTooLong):
        parse(userResponse=character * (MAX_MESSAGE_CHARS + 1))


@pytest.mark.parametrize(
    "timestamp",
    ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00.5+00:00", "20260301T120000Z", "2026-03-01T07:00-05:00"],
)
def test_iso_8601_times_with_a_zone_are_read(timestamp: str) -> None:
    """Covers every common format of the same instant."""
    assert parse(userResponse="Hi", messageTimestamp=timestamp).sent_at.replace(microsecond=0) == datetime(
        2026, 3, 1, 12, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "yesterday",
        "2026-03-01",
        "2026-03-01T12:00:00",
        "2026-03-01 12:00:00Z",
        "2026-13-01T12:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "0999-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        1_772_366_400,
        True,
        ["2026-03-01T12:00:00Z"],
    ],
)
def test_an_ambiguous_or_malformed_time_is_an_invalid_timestamp(timestamp: object) -> None:
    """No time zone, no time, not a string, out of range: refused, never guessed."""
    with pytest.raises(InvalidTimestamp):
        parse(userResponse="Hi", messageTimestamp=timestamp)


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "a\n", "é", 7, ["a"]])
def test_a_client_message_id_outside_its_alphabet_is_refused(name: object) -> None:
    """1 to 64 of `A-Za-z0-9_-`, nothing else, no trailing newline."""
    with pytest.raises(InvalidClientMessageId):
        parse(userResponse="Hi", clientMessageId=name)
    assert parse(userResponse="Hi", clientMessageId="a" * 64).client_message_id == "a" * 64


def test_the_first_error_in_the_order_of_the_contract_is_reported() -> None:
    """A client with several errors learns of them one at a time, always in the same order."""
    with pytest.raises(InvalidUserResponse):
        parse(userResponse=" ", messageTimestamp="x", clientMessageId="?")
    with pytest.raises(InvalidTimestamp):
        parse(userResponse="Hi", messageTimestamp="x", clientMessageId="?")


@given(
    st.binary(max_size=200)
    | st.fixed_dictionaries(
        {},
        optional={
            "userResponse": JSON_VALUES,
            "messageTimestamp": JSON_VALUES | st.datetimes().map(datetime.isoformat),
            "clientMessageId": JSON_VALUES,
        },
    ).map(lambda fields: json.dumps(fields).encode())
)
def test_any_body_is_read_or_refused_with_a_typed_error(body: bytes) -> None:
    """No body makes the parser fail in any other way, and every accepted message can be stored."""
    try:
        message = parse_new_message(body, received_at=NOW)
    except RequestError:
        return
    assert not is_blank(message.text)
    message.text.encode()
    assert len(format_timestamp(message.sent_at)) == len("2026-03-01T12:30:15.123Z")


def test_a_conversation_needs_no_body() -> None:
    """No body, whitespace, an empty object, nulls and empty strings all mean the defaults."""
    plain = NewConversation(DEFAULT_TITLE, None)
    bodies = [
        None,
        b"",
        b" \n",
        b"{}",
        b'{"title":null,"initialMessage":null}',
        b'{"title":"","initialMessage":""}',
    ]
    assert [parse_new_conversation(body) for body in bodies] == [plain] * len(bodies)
    assert parse_new_conversation(b'{"title":"Legs","initialMessage":"Hi"}') == NewConversation("Legs", "Hi")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"title": 7}, InvalidRequest),
        ({"title": "  "}, InvalidRequest),
        ({"title": "\u115f\U000e0041"}, InvalidRequest),
        ({"initialMessage": "\u3164"}, InvalidUserResponse),
        ({"title": "t" * (MAX_TITLE_CHARS + 1)}, InvalidRequest),
        ({"initialMessage": 7}, InvalidUserResponse),
        ({"initialMessage": "  "}, InvalidUserResponse),
        ({"initialMessage": "x" * (MAX_MESSAGE_CHARS + 1)}, MessageTooLong),
    ],
)
def test_a_creation_is_refused_field_by_field(
    fields: dict[str, object], error: type[CoachStreamError]
) -> None:
    """The first message of a conversation must meet the rules for every message."""
    with pytest.raises(error):
        parse_new_conversation(json.dumps(fields).encode())


def test_a_change_leaves_what_it_does_not_name() -> None:
    """Absent fields stay unchanged; false and an empty list are changes."""
    assert parse_conversation_change(b'{"title":"Legs"}') == ConversationChange(title="Legs")
    assert parse_conversation_change(b'{"tags":[],"isActive":false}') == ConversationChange(
        tags=(), is_active=False
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"unknown": 1},
        {"title": None},
        {"title": ""},
        {"title": "\u202e\ufeff"},
        {"tags": ["legs", "\u200b"]},
        {"title": "t" * (MAX_TITLE_CHARS + 1)},
        {"tags": "legs"},
        {"tags": [1]},
        {"tags": [" "]},
        {"tags": ["t" * (MAX_TAG_CHARS + 1)]},
        {"tags": ["t"] * (MAX_TAGS + 1)},
        {"isActive": "yes"},
        {"isActive": 1},
    ],
)
def test_a_change_of_nothing_or_of_the_wrong_type_is_refused(fields: dict[str, object]) -> None:
    """At least one field is required, and each must have its type."""
    with pytest.raises(InvalidRequest):
        parse_conversation_change(json.dumps(fields).encode())


def test_a_change_needs_a_body() -> None:
    """A missing body and invalid JSON are distinguished, as for messages."""
    with pytest.raises(MissingRequestBody):
        parse_conversation_change(None)
    with pytest.raises(InvalidJson):
        parse_conversation_change(b"title=Legs")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"I ran 5 km today \\ud83d", "I ran 5 km today \ufffd"),
        (b"\\ud83dago", "\ufffdago"),
        (b"\\uDE00 first", "\ufffd first"),
        (b"\\ud83d\\ud83d\\ude00", "\ufffd\U0001f600"),
        (b"\\ude00\\ud83d", "\ufffd\ufffd"),
        (b"\\ud83d\\\\ude00", "\ufffd\\ude00"),
        (b"\\\\ud83d \\\\\\ud83d", "\\ud83d \\\ufffd"),
        (b"cut \xf0\x9f\x98", "cut \ufffd"),
        (b"latin \xe9t\xe9", "latin \ufffdt\ufffd"),
        (b"overlong \xc0\xafx", "overlong \ufffd\ufffdx"),
        (b"half \xed\xa0\xbd", "half \ufffd\ufffd\ufffd"),
        (b"beyond \xf4\x90\x80\x80", "beyond \ufffd\ufffd\ufffd\ufffd"),
        (b"whole \\ud83d\\ude00 \xf0\x9f\x98\x80 \\ufffd", "whole \U0001f600 \U0001f600 \ufffd"),
    ],
)
def test_half_an_emoji_and_other_broken_unicode_in_a_text_becomes_the_replacement_character(
    written: bytes, text: str
) -> None:
    """As JavaScript's `toWellFormed` and `TextDecoder` do, in every free-text field."""
    body = b'{"userResponse": "%s", "other\\udc00": "\\ud800"}' % written
    assert parse_new_message(body, received_at=NOW).text == text
    created = parse_new_conversation(b'{"title": "%s", "initialMessage": "%s"}' % (written, written))
    assert created == NewConversation(text, text)
    changed = parse_conversation_change(b'{"title": "%s", "tags": ["%s"]}' % (written, written))
    assert changed == ConversationChange(title=text, tags=(text,))


@pytest.mark.parametrize("broken", [b"\\ud83d", b"\xf0\x9f", b"\\u0000"])
def test_broken_unicode_in_a_field_that_names_something_is_refused_as_that_field(broken: bytes) -> None:
    """Ids and times are never altered; the error names the field."""
    with pytest.raises(InvalidClientMessageId):
        parse_new_message(b'{"userResponse": "Hi", "clientMessageId": "m-1%s"}' % broken, received_at=NOW)
    with pytest.raises(InvalidTimestamp):
        parse_new_message(b'{"userResponse": "Hi", "messageTimestamp": "%s"}' % broken, received_at=NOW)
    with pytest.raises(InvalidUserResponse):
        parse_new_message(b'{"userResponse%s": "Hi"}' % broken, received_at=NOW)


@given(st.text(st.characters(), max_size=40))
def test_any_text_that_javascript_can_send_arrives_well_formed(text: str) -> None:
    """Lone surrogates are replaced one by one, and nothing else is changed."""
    well_formed = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert parse(userResponse=f"x{text}").text == f"x{well_formed}"
