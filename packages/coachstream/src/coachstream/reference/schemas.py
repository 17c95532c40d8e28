"""JSON Schemas of the structs, as they are on the wire.

`msgspec` writes the schema of what it would *decode*: a field with a default is optional there. An encoder
writes such a field always, and leaves one out only where the struct says so. A response is described as it is
encoded.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

import msgspec

from coachstream.conversation.another_try import TryKind
from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.model import Role, StopReason
from coachstream.conversation.runs.settings import TurnPolicy
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.reference.fields import FIELDS
from coachstream.time_zone import MAX_NAME_CHARS, ZONE_NAME
from coachstream.web import frames, user_data
from coachstream.web.ag_ui import AgUiBody
from coachstream.web.ai_sdk import REGENERATE, SUBMIT, AiSdkBody
from coachstream.web.conversations import (
    ConversationBody,
    ConversationListBody,
    ConversationMetadataBody,
    ErrorBody,
    OneConversationBody,
)
from coachstream.web.request_body import (
    CLIENT_MESSAGE_ID,
    MAX_MESSAGE_CHARS,
    MAX_TAG_CHARS,
    MAX_TAGS,
    MAX_TITLE_CHARS,
    ChangeBody,
    CreateBody,
    MessageBody,
)
from coachstream.web.routes import MAX_ID_CHARS
from coachstream.web.send_message import ErrorDetails

Schema = dict[str, object]

EVENTS: tuple[type[msgspec.Struct], ...] = get_args(frames.Frame)
"""The structs of the events of a stream, in the order of the union."""

EXPORT_LINES: tuple[type[msgspec.Struct], ...] = get_args(user_data.Line)
"""The structs of the lines of an export, in the order of the union."""

REQUESTS: tuple[type[msgspec.Struct], ...] = (MessageBody, CreateBody, ChangeBody, AiSdkBody, AgUiBody)
"""The structs of request bodies."""

TIMESTAMP: Schema = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
}
"""What `format_timestamp` writes."""

_VALUES: Mapping[tuple[type[msgspec.Struct], str], type[StrEnum]] = {
    (frames.MessageFrame, "role"): Role,
    (frames.MessageMetadataFrame, "stopReason"): StopReason,
    (frames.CompleteFrame, "stopReason"): StopReason,
    (frames.ErrorFrame, "code"): ErrorCode,
    (ErrorDetails, "code"): ErrorCode,
    (ErrorBody, "code"): ErrorCode,
    (user_data.ErrorLine, "code"): ErrorCode,
}
"""Fields that are texts in the structs and take their values from an enum of the domain."""

_REFERENCE = "#/components/schemas/"

_ANYTHING: Schema = {"description": "Any JSON value."}

_CONVERSATION: Schema = {"$ref": f"{_REFERENCE}{ConversationBody.__name__}"}
"""By the struct's own name, as in what msgspec writes; `_renamed` makes it public."""

_FIXED: Mapping[tuple[type[msgspec.Struct], str], Schema] = {
    (frames.MessageFrame, "timestamp"): TIMESTAMP,
    (ConversationMetadataBody, "startedAt"): TIMESTAMP,
    (ConversationMetadataBody, "lastActivity"): TIMESTAMP,
    (OneConversationBody, "conversation"): _CONVERSATION,
    (ConversationListBody, "conversations"): {"type": "array", "items": _CONVERSATION},
}
"""Fields whose types in the structs are wider than what they hold."""


def name_of(struct: type[msgspec.Struct]) -> str:
    """The public name of a struct: a frame of a stream is an event, any other frame a value."""
    name = struct.__name__
    if struct in EVENTS:
        return f"{name.removesuffix('Frame')}Event"
    return name.removesuffix("Frame")


def reference_to(struct: type[msgspec.Struct]) -> Schema:
    """A reference to the schema of a struct among the components."""
    return {"$ref": f"{_REFERENCE}{name_of(struct)}"}


def meaning_of(struct: type[msgspec.Struct]) -> str:
    """What a struct is, from its docstring, as one paragraph."""
    return " ".join(inspect.cleandoc(struct.__doc__ or "").split())


def response_schemas(structs: Iterable[type[msgspec.Struct]]) -> dict[str, Schema]:
    """The components for structs that are encoded, and for those in their fields."""
    found = _structs_in(structs)
    names = {struct.__name__: name_of(struct) for struct in found}
    _, components = msgspec.json.schema_components(
        tuple(found), ref_template=f"{_REFERENCE}{{name}}", schema_hook=lambda _: _ANYTHING
    )
    return {
        name_of(struct): _renamed(_as_encoded(struct, components[struct.__name__]), names) for struct in found
    }


def request_schemas() -> dict[str, Schema]:
    """The components for the request bodies, whose fields are checked by hand in `web.request_body`."""
    return {
        name_of(struct): {
            "title": name_of(struct),
            "type": "object",
            "description": _REQUEST_NOTES[struct],
            "properties": {
                field.encode_name: {
                    **_ACCEPTED[struct][field.encode_name],
                    "description": FIELDS[struct][field.encode_name],
                }
                for field in msgspec.structs.fields(struct)
            },
            **_REQUIRED[struct],
        }
        for struct in REQUESTS
    }


_LENIENT = "Fields of other names are ignored."
_TEXT_ONLY = (
    "A field that would carry other content than text (its name has a word such as `attachments`, `images`, "
    "`documents`, `files`, `audio` or `content`, or it is a `messageType` other than `text`) is refused with "
    "`ATTACHMENT_REJECTED`, unless it is empty. Fields of other names are ignored."
)
_REQUEST_NOTES: Mapping[type[msgspec.Struct], str] = {
    MessageBody: f"A message to the coach. {_TEXT_ONLY}",
    CreateBody: f"A new conversation; every field is optional, and so is the body. {_TEXT_ONLY}",
    AiSdkBody: f"What the AI SDK's `DefaultChatTransport` sends. {_TEXT_ONLY}",
    AgUiBody: "AG-UI's `RunAgentInput`. `tools`, `state` and fields of other names are ignored.",
    ChangeBody: f"What to change; a field that is absent stays as it is, and `null` is refused. {_LENIENT}",
}
_MESSAGE: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_MESSAGE_CHARS}
_TITLE: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_TITLE_CHARS}
_TIME_ZONE: Schema = {
    "anyOf": [
        {"type": "string", "pattern": f"^{ZONE_NAME.pattern}$", "maxLength": MAX_NAME_CHARS},
        {"enum": ["", None]},
    ]
}
_NO_ITEMS: Schema = {"type": "array", "items": {"type": "object"}, "maxItems": 0}
_MESSAGE_ID: Schema = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, "pattern": "^[^#]+$"},
        {"enum": [None]},
    ]
}
_ACCEPTED: Mapping[type[msgspec.Struct], Mapping[str, Schema]] = {
    MessageBody: {
        "userResponse": {"anyOf": [_MESSAGE, {"enum": ["", None]}]},
        "messageTimestamp": {"type": ["string", "null"], "format": "date-time", "pattern": "[Tt]"},
        "clientMessageId": {"type": ["string", "null"], "pattern": f"^{CLIENT_MESSAGE_ID.pattern}$"},
        "userTimezone": _TIME_ZONE,
        "policy": {"enum": [*(policy.value for policy in TurnPolicy), None]},
        "regenerate": _MESSAGE_ID,
        "replaces": _MESSAGE_ID,
        "continue": _MESSAGE_ID,
    },
    AiSdkBody: {
        "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
        "trigger": {"enum": [SUBMIT, REGENERATE, None]},
        "messageId": {"type": ["string", "null"]},
        "userTimezone": _TIME_ZONE,
    },
    AgUiBody: {
        "threadId": {"type": "string"},
        "runId": {"type": "string"},
        "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
        "protocolVersion": {"type": ["string", "null"]},
        "context": _NO_ITEMS,
        "resume": _NO_ITEMS,
        "forwardedProps": {"type": ["object", "null"]},
    },
    CreateBody: {
        "title": {
            "anyOf": [_TITLE, {"enum": ["", None]}],
            "default": DEFAULT_TITLE,
        },
        "initialMessage": {
            "anyOf": [_MESSAGE, {"enum": ["", None, False, 0]}, {"enum": [[], {}]}],
        },
        "userTimezone": _TIME_ZONE,
    },
    ChangeBody: {
        "title": _TITLE,
        "tags": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": MAX_TAG_CHARS},
            "maxItems": MAX_TAGS,
        },
        "isActive": {"type": "boolean"},
    },
}
_TRIES = {kind.value: kind is TryKind.REPLACE for kind in TryKind}
"""The fields that name what is tried again, and whether a text comes with it."""


def _message_without(*names: str) -> dict[str, Schema]:
    return {"userResponse": _MESSAGE} | {name: {"enum": [None]} for name in names}


_REQUIRED: Mapping[type[msgspec.Struct], Schema] = {
    MessageBody: {
        "oneOf": [
            {"required": ["userResponse"], "properties": _message_without(*_TRIES)},
            *(
                {
                    "required": [name, "clientMessageId", *(("userResponse",) if has_text else ())],
                    "properties": {
                        **_message_without(*(each for each in _TRIES if each != name)),
                        **({} if has_text else {"userResponse": {"enum": ["", None]}}),
                        name: {"type": "string"},
                        "clientMessageId": {"type": "string"},
                    },
                }
                for name, has_text in _TRIES.items()
            ),
        ]
    },
    CreateBody: {},
    AiSdkBody: {"required": ["messages"]},
    AgUiBody: {"required": ["threadId", "runId", "messages"]},
    ChangeBody: {
        "anyOf": [{"required": [field.encode_name]} for field in msgspec.structs.fields(ChangeBody)]
    },
}


def _structs_in(structs: Iterable[type[msgspec.Struct]]) -> list[type[msgspec.Struct]]:
    found: list[type[msgspec.Struct]] = []
    waiting = list(structs)
    while waiting:
        struct = waiting.pop(0)
        if struct not in found:
            found.append(struct)
            for hint in get_type_hints(struct).values():
                waiting += _structs_of(hint)
            if struct in {OneConversationBody, ConversationListBody}:
                waiting.append(ConversationBody)
    return found


def _structs_of(hint: object) -> list[type[msgspec.Struct]]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [struct for argument in get_args(hint) for struct in _structs_of(argument)]


def _as_encoded(struct: type[msgspec.Struct], decoded: Schema) -> Schema:
    properties: dict[str, object] = {}
    required: list[str] = []
    config = struct.__struct_config__
    if config.tag_field is not None:
        properties[config.tag_field] = {"const": config.tag}
        required.append(config.tag_field)
    by_name = decoded["properties"]
    assert isinstance(by_name, dict)  # noqa: S101 (for the type checker)
    hints = get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        name = field.encode_name
        is_left_out = config.omit_defaults and field.default is not msgspec.NODEFAULT
        if not is_left_out and not _may_be(hints[field.name], msgspec.UnsetType):
            required.append(name)
        schema = _field_schema(struct, name, by_name[name], without_null=is_left_out)
        properties[name] = {**schema, "description": FIELDS[struct][name]}
    return {
        "title": name_of(struct),
        "description": meaning_of(struct),
        "type": "object",
        "properties": properties,
        "required": required,
    }


def _field_schema(
    struct: type[msgspec.Struct], name: str, decoded: Mapping[str, object], *, without_null: bool
) -> Schema:
    if (struct, name) in _VALUES:
        return {"type": "string", "enum": [value.value for value in _VALUES[struct, name]]}
    if (struct, name) in _FIXED:
        return _FIXED[struct, name]
    schema = {key: value for key, value in decoded.items() if key != "default"}
    choices = schema.get("anyOf")
    if without_null and isinstance(choices, list):
        (only,) = [choice for choice in choices if choice != {"type": "null"}]
        return dict(only)
    match schema:
        case {"enum": [value]}:
            return {"const": value}
        case {"type": "array", "items": items}:
            return {"type": "array", "items": items}
        case _:
            return schema


def _may_be(hint: object, kind: type) -> bool:
    return get_origin(hint) in {Union, UnionType} and kind in get_args(hint)


def _renamed(schema: Schema, names: Mapping[str, str]) -> Schema:
    def rename(value: object) -> object:
        if isinstance(value, dict):
            return {key: rename(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [rename(inner) for inner in value]
        if isinstance(value, str) and value.startswith(_REFERENCE):
            return f"{_REFERENCE}{names[value.removeprefix(_REFERENCE)]}"
        return value

    return {key: rename(value) for key, value in schema.items()}
