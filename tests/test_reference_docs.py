"""Generated files match the structs, settings, commands and tables in the code."""

from __future__ import annotations

import json
from collections.abc import Iterator

import jsonschema_rs
import msgspec
import pytest
from openapi_spec_validator import validate

from coachstream.conversation.errors import ErrorCode
from coachstream.reference.asyncapi import asyncapi_document
from coachstream.reference.errors import CLIENT_ACTIONS, meaning_of
from coachstream.reference.events import EVENT_FACTS
from coachstream.reference.fields import FIELDS
from coachstream.reference.openapi import component_schemas, openapi_document
from coachstream.reference.operations import EVENT_ERRORS, METHODS, OPERATIONS
from coachstream.reference.schemas import EVENTS, name_of
from coachstream.web.status import HTTP_STATUS
from generated_pages import generated_files
from support.places import ROOT

FOLDER = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """Every generated file, as the code says it."""
    return generated_files()


def test_each_generated_file_is_what_the_code_says(files: dict[str, str]) -> None:
    """`make docs-pages` writes them again."""
    assert [path for path, text in files.items() if (ROOT / path).read_text() != text] == []


def test_there_is_no_other_generated_file(files: dict[str, str]) -> None:
    """A file that is no longer generated would become outdated."""
    generated = [
        path for path in FOLDER.iterdir() if "make docs-pages" in path.read_text() or path.suffix == ".json"
    ]
    assert {str(path.relative_to(ROOT)) for path in generated} == {
        path for path in files if "reference" in path
    }


def test_the_openapi_document_is_valid() -> None:
    """It is validated against the OpenAPI 3.1 schema."""
    validate(openapi_document())


def references(value: object) -> Iterator[str]:
    """Every `$ref` in a document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize("document", [openapi_document(), asyncapi_document()], ids=["openapi", "asyncapi"])
def test_every_reference_leads_somewhere(document: dict[str, object]) -> None:
    """Every schema is also referenced."""
    found = set(references(document))
    for reference in found:
        part: object = document
        for key in reference.removeprefix("#/").split("/"):
            assert isinstance(part, dict)
            part = part[key]
    components = document["components"]
    assert isinstance(components, dict)
    assert {f"#/components/schemas/{name}" for name in components["schemas"]} - found <= {
        "#/components/schemas/Event",
        "#/components/schemas/ExportLine",
    }


def test_every_operation_is_described_once() -> None:
    """The document has exactly the methods that the functions accept."""
    described = [(each.resource, each.method) for each in OPERATIONS]
    served = {(resource, method) for resource, methods in METHODS.items() for method in methods}
    assert set(described) == served
    assert len(described) == len(served)


def test_every_code_has_a_status_a_meaning_an_action_and_a_place() -> None:
    """`METHOD_NOT_ALLOWED` belongs to methods that are no operation."""
    assert set(CLIENT_ACTIONS) == set(HTTP_STATUS) == set(ErrorCode)
    assert all(meaning_of(code).endswith(".") for code in ErrorCode)
    placed = EVENT_ERRORS.union(*(each.errors for each in OPERATIONS))
    assert set(ErrorCode) - placed == {ErrorCode.METHOD_NOT_ALLOWED}


def test_every_event_is_described_and_its_example_fits_its_schema() -> None:
    """The example is as the encoder writes it; an example without a required field does not fit."""
    assert set(EVENT_FACTS) == set(EVENTS)
    schemas = component_schemas()
    for event in EVENTS:
        name = name_of(event)
        validator = jsonschema_rs.validator_for(
            {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        )
        written = json.loads(msgspec.json.encode(EVENT_FACTS[event].example))
        validator.validate(written)
        required = schemas[name]["required"]
        assert isinstance(required, list)
        for field in required:
            assert not validator.is_valid({key: value for key, value in written.items() if key != field})


def test_every_field_has_one_meaning() -> None:
    """The table lists exactly the structs' fields, in their order."""
    for struct, meanings in FIELDS.items():
        assert list(meanings) == [field.encode_name for field in msgspec.structs.fields(struct)]
