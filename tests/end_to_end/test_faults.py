"""Each part of the real configuration, refusing connections, slow, failing, throttled or returning garbage.

Whatever happens, the stream ends with the right event, and an accepted message is stored.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping

import httpx
import msgspec
import pytest

from coachstream.functions.stream_coach_conversation.handler import handler_for
from coachstream.services import Services
from coachstream.settings import Settings
from lambda_streaming import to_asgi
from support.aws_stack import KEY, AwsStack, aws_stack
from support.faulty_proxy import Fault
from support.http_server import serving
from support.patience import PATIENCE_S, PATIENT

QUESTION = "How was my squat week?"
TIMEOUT_S = 120.0
"""The invocation timeout, which no fault uses up: each has a shorter limit of its own."""

PATIENT_STORE = {"COACHSTREAM_STORE_TIMEOUT_S": PATIENT["COACHSTREAM_STORE_TIMEOUT_S"]}
"""For tests in which the store works."""

IMPATIENT_STORE = {"COACHSTREAM_STORE_TIMEOUT_S": "3"}
"""For tests in which it does not: three attempts of this many seconds."""


class Outcome(msgspec.Struct, frozen=True):
    """What a client saw."""

    status: int
    events: list[dict[str, object]]

    @property
    def ending(self) -> object:
        """The code of the last event, or else its type."""
        last = self.events[-1]
        return last.get("code", last["type"])

    @property
    def text(self) -> str:
        """What was streamed."""
        return "".join(str(event["content"]) for event in self.events if event["type"] == "chunk")


@pytest.fixture
async def stack(
    dynamodb_local_url: str,
    moto_url: str,
    aws_credentials: None,  # noqa: ARG001 (sets the credentials for all processes)
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[AwsStack]:
    async with aws_stack(dynamodb_local_url, moto_url) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
async def client(stack: AwsStack, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    more: Mapping[str, str] = getattr(request, "param", {})
    services = Services(Settings.from_environment({**stack.environment, **PATIENT_STORE, **more}))
    # Semantic search has 1.2 s, which the imports alone can take if many processes share a few cores.
    await asyncio.to_thread(services.load_all)
    handler = handler_for(lambda: services)
    async with (
        serving(to_asgi(handler, timeout_s=TIMEOUT_S, drain_timeout_s=5)) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/",
            headers={"authorization": f"Bearer {stack.token}"},
            timeout=PATIENCE_S,
            trust_env=False,
        ) as opened,
    ):
        yield opened
    await services.aclose()


async def ask(client: httpx.AsyncClient, text: str = QUESTION) -> Outcome:
    """Send a message and read its stream to the end."""
    path = f"users/{KEY.user_id}/coaches/{KEY.coach_id}/conversations/{KEY.conversation_id}/stream"
    answer = await client.post(path, json={"userResponse": text})
    frames = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return Outcome(answer.status_code, [json.loads(frame) for frame in frames])


async def stored(stack: AwsStack) -> list[tuple[str, str]]:
    """Role and text of every stored message."""
    store = stack.table.store()
    return [(message.role.value, message.content) for message in await store.load_messages(KEY)]


@pytest.mark.parametrize("client", [PATIENT], indirect=True, ids=["patient"])
async def test_without_a_fault_everything_works_together(stack: AwsStack, client: httpx.AsyncClient) -> None:
    """A turn uses Cognito, DynamoDB, Pinecone and Bedrock together, and is stored."""
    outcome = await ask(client)
    assert (outcome.status, outcome.ending) == (200, "complete")
    complete = outcome.events[-1]
    context = complete["pineconeContext"]
    assert isinstance(context, Mapping)
    assert (context["used"], context["matches"]) == (True, 2)
    sent = json.dumps(stack.bedrock.requests[0].body)
    assert "Rest is a part of training." in sent
    assert "Squats, five by five." in sent
    assert await stored(stack) == [("user", QUESTION), ("assistant", outcome.text)]
    assert len(stack.bedrock.requests) == 1
    assert QUESTION in sent
    usage = complete["usage"]
    assert isinstance(usage, Mapping)
    assert usage["outputTokens"] > 0
    assert stack.pinecone.refused == []


@pytest.mark.parametrize("fault", Fault)
async def test_an_unreachable_issuer_lets_no_request_in(
    stack: AwsStack, client: httpx.AsyncClient, fault: Fault
) -> None:
    """The request is refused before the turn begins, within the time limit for fetching keys."""
    stack.proxies["identity"].fault = fault
    outcome = await ask(client)
    assert (outcome.status, outcome.ending) == (500, "PROCESSING_ERROR")
    assert [event["type"] for event in outcome.events] == ["error"]
    assert await stored(stack) == []


@pytest.mark.parametrize("client", [IMPATIENT_STORE], indirect=True, ids=["impatient"])
@pytest.mark.parametrize("fault", Fault)
async def test_a_store_failure_at_the_beginning_is_reported_before_the_model_is_called(
    stack: AwsStack, client: httpx.AsyncClient, fault: Fault
) -> None:
    """Nothing is stored, and the client gets an error."""
    stack.proxies["storage"].fault = fault
    outcome = await ask(client)
    assert outcome.status == 200
    assert outcome.ending == "STORAGE_UNAVAILABLE"
    assert [event["type"] for event in outcome.events] == ["start", "error"]
    stack.proxies["storage"].fault = None
    assert await stored(stack) == []
    assert stack.bedrock.requests == []


@pytest.mark.parametrize("client", [IMPATIENT_STORE], indirect=True, ids=["impatient"])
@pytest.mark.parametrize("fault", Fault)
async def test_a_store_failure_at_the_end_is_reported_and_the_message_is_kept(
    stack: AwsStack, client: httpx.AsyncClient, fault: Fault
) -> None:
    """No `complete` event is sent for a reply that may be lost; the user's message stays stored.

    If only the responses of the store are lost, the reply is stored, too.
    """
    proxy = stack.proxies["storage"]
    proxy.applies_to = lambda _, headers, body: (
        headers.get("x-amz-target", "").endswith("TransactWriteItems") and b"replyTo" in body
    )
    proxy.fault = fault
    outcome = await ask(client)
    assert (outcome.status, outcome.ending) == (200, "STORAGE_UNAVAILABLE")
    assert outcome.text
    proxy.fault = None
    kept = [("user", QUESTION), ("assistant", outcome.text)]
    assert await stored(stack) == (kept if fault is Fault.LOST else kept[:1])


@pytest.mark.parametrize(
    ("client", "fault", "code"),
    [
        pytest.param(settings, fault, code, id=f"{fault}-{code}")
        for settings, fault, code in (
            ({}, Fault.REFUSED, "MODEL_UNAVAILABLE"),
            ({"COACHSTREAM_MODEL_STALL_S": "1"}, Fault.SLOW, "MODEL_UNAVAILABLE"),
            ({}, Fault.ERROR, "MODEL_UNAVAILABLE"),
            ({}, Fault.THROTTLED, "MODEL_THROTTLED"),
            ({}, Fault.GARBAGE, "MODEL_STREAM_BROKEN"),
        )
    ],
    indirect=["client"],
)
async def test_a_model_failure_is_reported_and_the_message_is_kept(
    stack: AwsStack, client: httpx.AsyncClient, fault: Fault, code: str
) -> None:
    """The model is retried while time is left; afterwards the conversation can continue."""
    stack.proxies["model"].fault = fault
    outcome = await ask(client)
    assert (outcome.status, outcome.ending) == (200, code)
    assert [event["type"] for event in outcome.events] == ["start", "run", "error"]
    assert stack.proxies["model"].met > 1
    assert await stored(stack) == [("user", QUESTION)]
    stack.proxies["model"].fault = None
    assert (await ask(client, "And now?")).ending == "complete"


@pytest.mark.parametrize("fault", Fault)
async def test_a_failed_semantic_search_is_left_out(
    stack: AwsStack, client: httpx.AsyncClient, fault: Fault
) -> None:
    """The turn continues without search results, and reports that."""
    stack.proxies["recall"].fault = fault
    outcome = await ask(client)
    assert (outcome.status, outcome.ending) == (200, "complete")
    assert outcome.events[-1]["pineconeContext"] == {"used": False, "matches": 0, "contextLength": 0}
    assert await stored(stack) == [("user", QUESTION), ("assistant", outcome.text)]


@pytest.mark.parametrize("fault", Fault)
async def test_a_failed_hand_off_does_not_fail_the_turn(
    stack: AwsStack, client: httpx.AsyncClient, fault: Fault
) -> None:
    """The reply is delivered anyway; a call whose response was lost is repeated with the same payload."""
    stack.proxies["hand-off"].fault = fault
    outcome = await ask(client, "/log-workout 5x5 squats")
    assert (outcome.status, outcome.ending) == (200, "complete")
    payloads = stack.functions.payloads
    assert all(payload == payloads[0] for payload in payloads)
    assert bool(payloads) == (fault is Fault.LOST)


async def test_a_hand_off_includes_the_coach_as_stored_in_dynamodb(
    stack: AwsStack, client: httpx.AsyncClient
) -> None:
    """DynamoDB's numbers arrive as JSON numbers, and nothing is lost."""
    assert (await ask(client, "/log-workout 5x5 squats")).ending == "complete"
    [(function, payload)] = stack.functions.payloads
    assert function == "build-workout"
    assert payload["coachConfig"]["metadata"] == {"total_conversations": 5}
    assert payload["userMessage"] == "5x5 squats"


async def test_a_memory_is_saved_found_and_confirmed(stack: AwsStack, client: httpx.AsyncClient) -> None:
    """It is in DynamoDB before the reply confirms it, and in Pinecone once the reply is stored."""
    outcome = await ask(client, "/save-memory I hate burpees")
    assert outcome.text.startswith('\u2705 I will remember this: "I hate burpees"\n\n')
    assert (await stored(stack))[-1] == ("assistant", outcome.text)
    store = stack.table.store()
    [memory] = await store.load_memories(KEY.user_id, KEY.coach_id, limit=5)
    assert memory.content == "I hate burpees"
    record = stack.pinecone.records[f"user_{KEY.user_id}"][memory.id]
    assert "I hate burpees" in str(record["text"])
