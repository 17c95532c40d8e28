"""The files of the reference, by name."""

from __future__ import annotations

import json

from coachstream.reference.asyncapi import asyncapi_document
from coachstream.reference.openapi import openapi_document
from coachstream.reference.pages import errors_page, events_page, http_page


def documents() -> dict[str, str]:
    """Every file of the reference with its text."""
    return {
        "openapi.json": _json(openapi_document()),
        "asyncapi.json": _json(asyncapi_document()),
        "http-api.md": http_page(),
        "events.md": events_page(),
        "errors.md": errors_page(),
    }


def _json(document: dict[str, object]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
