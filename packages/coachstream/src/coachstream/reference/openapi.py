"""The OpenAPI 3.1 document."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from importlib.metadata import version

import msgspec

from coachstream.conversation.errors import ErrorCode
from coachstream.identity.tickets import TICKET_LIFETIME
from coachstream.reference.errors import meaning_of
from coachstream.reference.operations import (
    ERROR_BODIES,
    OPERATIONS,
    OUR_STREAM,
    Function,
    Operation,
    Stream,
    Success,
)
from coachstream.reference.schemas import (
    EVENTS,
    EXPORT_LINES,
    Schema,
    reference_to,
    request_schemas,
    response_schemas,
)
from coachstream.web.frames import ErrorFrame
from coachstream.web.quotas import QUOTA_HEADERS
from coachstream.web.routes import MAX_ID_CHARS
from coachstream.web.run_requests import CURSOR_PARAMETERS, LAST_EVENT_ID, TICKET
from coachstream.web.send_message import SendErrorBody
from coachstream.web.sse import CONTENT_TYPE

SERVER = "http://127.0.0.1:8000"
"""Where `coachstream serve` listens, unless an option says otherwise."""

JSON = "application/json"
EVENT_STREAM = CONTENT_TYPE.partition(";")[0]
NO_STORE = "no-store"
"""`Cache-Control` of every response that is no stream."""

CHALLENGE_HEADERS = ("WWW-Authenticate", "x-amzn-remapped-www-authenticate")
"""Of a 401: as the functions send it, and as the emulator passes it on, like API Gateway."""

EVENT = "Event"
"""The component that is any event of a stream."""

EXPORT_LINE = "ExportLine"
"""The component that is any line of an export."""

SECURITY_SCHEMES: dict[str, object] = {
    "idToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The user's ID token.",
    },
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": TICKET,
        "description": (
            "Bound to one user, conversation and run, for reading only; "
            f"good for {TICKET_LIFETIME.seconds // 60} minutes."
        ),
    },
}

ID_SCHEMA: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, "pattern": "^[^#]+$"}
"""What `web.routes` accepts as an id, but for unprintable characters, which no pattern can list."""

CURSOR_HEADER = f"{LAST_EVENT_ID.title().removesuffix('Id')}ID"
"""As the HTML standard spells it."""

CURSOR_EXAMPLE = "run_1795428000123_6v1or0she:4"

_DESCRIPTION = """\
A coach's reply as a stream of Server-Sent Events that any reader can resume, and the conversations it is in.

Three Lambda functions, each with a Function URL of its own, serve these paths; `coachstream serve` serves all
of them at one address. Empty segments of a path are dropped. A path that is none of these is `404`, another
method `405`. The events of a stream are described in `asyncapi.json` and in `components.schemas.Event`.
"""

_BODY_STRUCTS: tuple[type[msgspec.Struct], ...] = (
    *(success.body for each in OPERATIONS for success in each.successes if success.body is not None),
    *ERROR_BODIES.values(),
)


def openapi_document() -> dict[str, object]:
    """The whole document."""
    paths: dict[str, dict[str, object]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "coachstream",
            "version": version("coachstream"),
            "summary": "Replies of an AI coach, streamed from AWS Lambda.",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "{url}", "variables": {"url": {"default": SERVER}}}],
        "security": [{"idToken": []}],
        "tags": [{"name": function.value} for function in Function],
        "paths": paths,
        "components": {
            "schemas": component_schemas(),
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


@functools.cache
def component_schemas() -> dict[str, Schema]:
    """Every schema that a request, a response or an event refers to."""
    unions = {
        EVENT: _union(EVENT, "One event of a stream. Skip an event whose `type` you do not know.", EVENTS),
        EXPORT_LINE: _union(EXPORT_LINE, "One line of an export.", EXPORT_LINES),
    }
    return {**unions, **response_schemas([*EVENTS, *EXPORT_LINES, *_BODY_STRUCTS]), **request_schemas()}


def _union(title: str, description: str, structs: Sequence[type[msgspec.Struct]]) -> Schema:
    """Any of the structs, which `type` tells apart."""
    mapping = {str(each.__struct_config__.tag): reference_to(each)["$ref"] for each in structs}
    return {
        "title": title,
        "description": description,
        "oneOf": [reference_to(each) for each in structs],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }


def _operation(operation: Operation) -> Schema:
    described: Schema = {
        "operationId": operation.name,
        "tags": [operation.function.value],
        "summary": operation.summary,
    }
    if operation.description:
        described["description"] = operation.description
    if operation.takes_ticket:
        described["security"] = [{"idToken": []}, {"ticket": []}]
    described["parameters"] = [
        *_path_parameters(operation),
        *_query_parameters(operation),
        *_cursor_parameters(operation),
    ]
    if operation.request is not None:
        described["requestBody"] = {
            "required": operation.needs_body,
            "description": "JSON, whatever the request's `Content-Type` says.",
            "content": {JSON: {"schema": reference_to(operation.request)}},
        }
    responses = {str(each.status): _success(each) for each in operation.successes}
    for status, codes in operation.errors_by_status().items():
        responses[str(status)] = _error(operation, status, codes)
    described["responses"] = responses
    return described


def _path_parameters(operation: Operation) -> Iterable[Schema]:
    for name, meaning in operation.parameters:
        yield {"name": name, "in": "path", "required": True, "description": meaning, "schema": ID_SCHEMA}


def _query_parameters(operation: Operation) -> Iterable[Schema]:
    for each in operation.query:
        yield {"name": each.name, "in": "query", "description": each.meaning, "schema": dict(each.schema)}


def _cursor_parameters(operation: Operation) -> Iterable[Schema]:
    if not operation.takes_cursor:
        return
    places = [*(("query", name) for name in sorted(CURSOR_PARAMETERS)), ("header", CURSOR_HEADER)]
    for place, name in places:
        yield {
            "name": name,
            "in": place,
            "description": "The `id` of the last event that was read. The furthest one of a request counts.",
            "schema": {"type": "string"},
            "example": CURSOR_EXAMPLE,
        }


def _success(success: Success) -> Schema:
    response: Schema = {"description": success.meaning}
    headers: dict[str, object] = {}
    if success.stream is not None:
        response["content"] = {success.stream.media_type: {"schema": _stream_schema(success.stream)}}
        sent = success.stream.headers.items()
        headers |= {name: _header(value) for name, value in sent if name != "Content-Type"}
    else:
        headers["Cache-Control"] = _header(NO_STORE)
    if success.body is not None:
        response["content"] = {JSON: {"schema": reference_to(success.body)}}
    if success.has_location:
        headers["Location"] = {
            "description": "The same as `eventsUrl`.",
            "required": True,
            "schema": {"type": "string"},
        }
    response["headers"] = headers
    return response


def _error(operation: Operation, status: int, codes: Sequence[ErrorCode]) -> Schema:
    narrowed: Schema = {"properties": {"code": {"enum": [code.value for code in codes]}}}
    body = ERROR_BODIES[operation.function]
    if body is SendErrorBody:
        narrowed = {"properties": {"details": narrowed}}
    content: Schema = {JSON: {"schema": {"allOf": [reference_to(body), narrowed]}}}
    if body is ErrorFrame and operation.is_ours:
        content[EVENT_STREAM] = {"schema": _stream_schema(OUR_STREAM)}
    response: Schema = {
        "description": "\n".join(f"- `{code.value}`: {meaning_of(code)}" for code in codes),
        "content": content,
    }
    if status == 401:  # noqa: PLR2004
        response["headers"] = {
            name: {
                "description": 'One of both is sent: `Bearer`, or `Bearer error="invalid_token"` (RFC 6750).',
                "schema": {"type": "string"},
            }
            for name in CHALLENGE_HEADERS
        }
    if ErrorCode.QUOTA_EXCEEDED in codes:
        response["headers"] = {
            name: {"description": meaning, "required": True, "schema": {"type": "string"}}
            for name, meaning in QUOTA_HEADERS.items()
        }
    return response


def _stream_schema(stream: Stream) -> Schema:
    return {
        "type": "string",
        "contentMediaType": stream.media_type,
        "description": stream.description,
    }


def _header(value: str) -> Schema:
    return {"required": True, "schema": {"type": "string", "const": value}}
