"""Whatever is sent to the served functions, their responses match the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckFunction
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.responses import Response

from coachstream.conversation.model import Conversation, ConversationKey
from coachstream.functions.coach_conversations import handler as coach_conversations
from coachstream.functions.send_coach_conversation_message import (
    handler as send_coach_conversation_message,
)
from coachstream.functions.stream_coach_conversation import handler as stream_coach_conversation
from coachstream.identity.local_issuer import LocalIssuer, local_verifier
from coachstream.identity.ticket_keys import fixed_key
from coachstream.identity.tickets import Tickets
from coachstream.local.app import LocalApp
from coachstream.local.session import Session
from coachstream.reference.openapi import CHALLENGE_HEADERS, EVENT, EXPORT_LINE, openapi_document
from coachstream.services import Services
from coachstream.settings import Settings
from coachstream.web.sse import SseReader
from coachstream.web.user_data import AFTER
from lambda_streaming import to_asgi
from support.doubles import RememberedConversations, ScriptedModel
from support.patience import PATIENCE_S
from support.uvicorn_server import served

RESPONSE_IS_DOCUMENTED: tuple[CheckFunction, ...] = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)

SAMS = ConversationKey("sam", "mara", "conv1")
IDS = {"userId": SAMS.user_id, "coachId": SAMS.coach_id, "conversationId": SAMS.conversation_id}
EVENT_SCHEMA, LINE_SCHEMA = (
    jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{name}", "components": openapi_document()["components"]}
    )
    for name in (EVENT, EXPORT_LINE)
)


class History(StrEnum):
    """What happened in the conversation before the request."""

    ELSEWHERE = "it is not about Sam's"
    NOTHING = "nothing"
    WAITING = "a run waits for its reader"
    FINISHED = "a run is finished"


class Service(msgspec.Struct):
    """The service under test."""

    url: str
    token: str
    store: RememberedConversations
    http: httpx.Client

    def restore(self) -> None:
        """Reset the store to Sam's conversation without messages."""
        began = datetime(2026, 3, 1, tzinfo=UTC)
        self.store.conversations = {SAMS: Conversation(SAMS, "Legs", began, began)}
        self.store.messages = {SAMS: []}
        self.store.forget_logs()
        self.store._unfinished.clear()

    def ids(self, history: History) -> dict[str, str]:
        """The ids for the request after that history; none if the request is to use its own."""
        if history is History.ELSEWHERE:
            return {}
        return IDS if history is History.NOTHING else {**IDS, "runId": self._run(history)}

    def _run(self, history: History) -> str:
        url = f"{self.url}users/sam/coaches/mara/conversations/conv1/stream"
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        opened = self.http.post(url, headers=headers, json={"userResponse": "Hi"}).json()
        if history is History.FINISHED:
            self.http.get(f"{url}/{opened['runId']}", headers=headers)
        return str(opened["runId"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("openapi")
    issuer = LocalIssuer(folder)
    store = RememberedConversations(("sam", "mara"))
    services = Services(Settings.embedded(folder))
    services.store = store
    services.model = ScriptedModel()
    services.recall = None
    services.verifier = local_verifier(folder)
    services.tickets = Tickets(fixed_key(bytes(32)))
    app = LocalApp(
        page=Response(status_code=404),
        stream=to_asgi(stream_coach_conversation.handler_for(lambda: services)),
        send_message=to_asgi(send_coach_conversation_message.handler_for(lambda: services)),
        conversations=to_asgi(coach_conversations.handler_for(lambda: services)),
        open_session=_no_session,
        may_sign_in=None,
    )
    token = issuer.issue("sam", lifetime=timedelta(hours=1)).token
    with served(app) as url, httpx.Client(timeout=PATIENCE_S) as http:
        yield Service(url, token, store, http)


async def _no_session(_origin: str, _authorization: str | None) -> Session:
    raise AssertionError("nobody asks for one")


def without_streams() -> dict[str, object]:
    """The document without the schemas of streams: OpenAPI 3.1 cannot describe one event or line."""
    document = openapi_document()
    for operations in document["paths"].values():  # type: ignore[attr-defined]
        for operation in operations.values():
            for response in operation["responses"].values():
                for media_type in ("text/event-stream", "application/x-ndjson"):
                    response.get("content", {}).get(media_type, {}).pop("schema", None)
    return document


def contract(*phases: str) -> schemathesis.BaseSchema:
    """The document, and the phases that generate requests from it."""
    schema = schemathesis.openapi.from_dict(without_streams())
    schema.config.phases.update(phases=list(phases))
    schema.config.checks.negative_data_rejection.expected_statuses += ["413"]
    return schema


systematic, fuzzed = contract("examples", "coverage"), contract("fuzzing")


@systematic.parametrize()
@settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_requests_at_each_limit_get_documented_responses(case: Case[Any], service: Service) -> None:
    """In Sam's conversation: each field at, below and above its limits, of the wrong type, or missing."""
    service.restore()
    case.path_parameters = {name: IDS.get(name, value) for name, value in case.path_parameters.items()}
    checks = RESPONSE_IS_DOCUMENTED
    if not is_foreign(case):
        checks += (negative_data_rejection,)
        if AFTER not in (case.query or {}):  # a cursor is opaque: no schema can describe a valid one
            checks += (positive_data_acceptance,)
    respond(case, service, checks=checks)


@fuzzed.given(
    history=st.sampled_from(History), accept=st.sampled_from(["*/*", "application/json", "text/event-stream"])
)
@fuzzed.parametrize()
@settings(max_examples=24, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_random_requests_get_documented_responses(
    case: Case[Any], service: Service, history: History, accept: str
) -> None:
    """With unknown ids, and in Sam's conversation with and without a run."""
    service.restore()
    ids = service.ids(history)
    case.path_parameters = {name: ids.get(name, value) for name, value in case.path_parameters.items()}
    respond(case, service, accept=accept)


def is_foreign(case: Case[Any]) -> bool:
    """Whether another project defines what the operation takes and sends; its own packages check that."""
    return any(f"/{name}" in case.path for name in ("ai-sdk", "ag-ui"))


def respond(
    case: Case[Any],
    service: Service,
    *,
    accept: str = "*/*",
    checks: Sequence[CheckFunction] = RESPONSE_IS_DOCUMENTED,
) -> None:
    """Send the request and check the response against the document."""
    headers = {"Authorization": f"Bearer {service.token}", "Accept": accept}
    response = case.call(base_url=service.url.rstrip("/"), headers=headers, timeout=PATIENCE_S)
    case.validate_response(response, checks=list(checks))
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        assert any(name.lower() in response.headers for name in CHALLENGE_HEADERS)
    content_type = response.headers.get("content-type", [""])[0]
    if content_type.startswith("application/x-ndjson"):
        lines = [json.loads(line) for line in response.content.splitlines()]
        assert lines
        for line in lines:
            LINE_SCHEMA.validate(line)
    is_stream = content_type.startswith("text/event-stream")
    if is_stream and not is_foreign(case):
        events = [json.loads(data) for data in SseReader().feed(response.content)]
        assert events
        for event in events:
            EVENT_SCHEMA.validate(event)
