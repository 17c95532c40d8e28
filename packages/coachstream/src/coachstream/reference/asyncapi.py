"""The AsyncAPI 3 document: the streams as channels, their events as messages."""

from __future__ import annotations

from importlib.metadata import version
from urllib.parse import urlsplit

import msgspec

from coachstream.reference.events import EVENT_FACTS
from coachstream.reference.openapi import EVENT_STREAM, JSON, SECURITY_SCHEMES, SERVER
from coachstream.reference.operations import PARAMETERS, path_of
from coachstream.reference.schemas import (
    EVENTS,
    Schema,
    meaning_of,
    name_of,
    reference_to,
    request_schemas,
    response_schemas,
)
from coachstream.web.request_body import MessageBody
from coachstream.web.routes import PATTERNS, Resource
from coachstream.web.run_requests import TICKET

_HTTP_BINDING = "0.3.0"
"""Version of AsyncAPI's HTTP binding."""

_CHANNELS = {Resource.STREAM: "conversation", Resource.RUN: "run"}
_NEW_MESSAGE = "newMessage"


def asyncapi_document() -> dict[str, object]:
    """The whole document."""
    server = urlsplit(SERVER)
    schemas = response_schemas(EVENTS)
    request = name_of(MessageBody)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "coachstream",
            "version": version("coachstream"),
            "description": (
                "The events of a coach's reply, as Server-Sent Events over HTTP; `openapi.json` has the "
                "requests, statuses and errors."
            ),
            "license": {"name": "MIT"},
        },
        "defaultContentType": JSON,
        "servers": {
            "local": {
                "host": server.netloc,
                "protocol": server.scheme,
                "description": "`coachstream serve`",
                "security": [{"$ref": "#/components/securitySchemes/idToken"}],
            }
        },
        "channels": {name: _channel(resource, name) for resource, name in _CHANNELS.items()},
        "operations": {
            "startReply": {
                "action": "receive",
                "summary": "A client sends a message, and gets the reply as events.",
                "channel": _channel_ref(Resource.STREAM),
                "messages": [_message_ref(Resource.STREAM, _NEW_MESSAGE)],
                "bindings": _method("POST"),
                "reply": {
                    "channel": _channel_ref(Resource.STREAM),
                    "messages": _event_refs(Resource.STREAM),
                },
            },
            "joinReply": {
                "action": "send",
                "summary": "The events of the run that the cursor names, else of the unfinished run.",
                "channel": _channel_ref(Resource.STREAM),
                "messages": _event_refs(Resource.STREAM),
                "bindings": _method("GET"),
            },
            "resumeReply": {
                "action": "send",
                "summary": "The events of a run, behind the reader's cursor.",
                "description": f"Instead of a token, `?{TICKET}=` is accepted.",
                "channel": _channel_ref(Resource.RUN),
                "messages": _event_refs(Resource.RUN),
                "bindings": _method("GET"),
            },
        },
        "components": {
            "messages": {
                **{_tag(event): _event_message(event) for event in EVENTS},
                _NEW_MESSAGE: {
                    "name": _NEW_MESSAGE,
                    "summary": "The body of the request.",
                    "payload": reference_to(MessageBody),
                },
            },
            "schemas": {
                **schemas,
                request: request_schemas()[request],
            },
            "securitySchemes": {"idToken": SECURITY_SCHEMES["idToken"]},
        },
    }


def _channel(resource: Resource, name: str) -> Schema:
    tags = [_tag(event) for event in EVENTS]
    if resource is Resource.STREAM:
        tags.append(_NEW_MESSAGE)
    return {
        "title": name,
        "address": path_of(resource),
        "description": f"`{EVENT_STREAM}`: each event is one block, whose `data` is the payload on one line.",
        "parameters": {
            public: {"description": meaning}
            for part in dict(PATTERNS)[resource]
            if part in PARAMETERS
            for public, meaning in [PARAMETERS[part]]
        },
        "messages": {tag: {"$ref": f"#/components/messages/{tag}"} for tag in tags},
    }


def _event_message(event: type[msgspec.Struct]) -> Schema:
    facts = EVENT_FACTS[event]
    return {
        "name": _tag(event),
        "title": name_of(event),
        "summary": meaning_of(event),
        "headers": {
            "type": "object",
            "description": "The other fields of the event's block in the stream.",
            "properties": {
                "id": {"type": "string", "description": f"The cursor of the event. {facts.has_id}"},
            },
        },
        "payload": reference_to(event),
        "examples": [{"payload": msgspec.to_builtins(facts.example)}],
    }


def _tag(event: type[msgspec.Struct]) -> str:
    return str(event.__struct_config__.tag)


def _channel_ref(resource: Resource) -> Schema:
    return {"$ref": f"#/channels/{_CHANNELS[resource]}"}


def _message_ref(resource: Resource, name: str) -> Schema:
    return {"$ref": f"#/channels/{_CHANNELS[resource]}/messages/{name}"}


def _event_refs(resource: Resource) -> list[Schema]:
    return [_message_ref(resource, _tag(event)) for event in EVENTS]


def _method(method: str) -> Schema:
    return {"http": {"method": method, "bindingVersion": _HTTP_BINDING}}
