"""The functions in place of the existing ones: the same requests, items and invocations (existing system).

The existing front end, in both versions, talks to our functions over HTTP; the table is DynamoDB Local, and
Bedrock, Pinecone and the other functions are test servers that speak the real wire formats. Each scenario
has a user of its own in one shared table. Expectations are the contract's: a name or shape that drifts fails.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

import httpx
import msgspec
import pytest

from coachstream.conversation.errors import InvalidTokenFormat
from coachstream.conversation.model import ConversationKey, Identity
from coachstream.functions.coach_conversations.handler import handler_for as conversations_handler
from coachstream.functions.send_coach_conversation_message.handler import handler_for as send_handler
from coachstream.functions.stream_coach_conversation.handler import handler_for as stream_handler
from coachstream.services import Services
from coachstream.settings import Settings, TurnPolicy
from coachstream.storage.dynamodb.attribute_values import from_item, to_item
from coachstream.web.sse import SseReader
from lambda_streaming import to_asgi
from lambda_streaming.streaming import install_driver
from support.aws_stack import Invocations
from support.bedrock_guardrail import WordGuardrail
from support.bedrock_server import (
    BedrockServer,
    Bytes,
    Disconnect,
    ModelResponse,
    Refusal,
    Reply,
    Silence,
    Until,
    bedrock_server,
    closing,
    opening,
    reply,
    text,
    verdict,
)
from support.doubles import KnownTokens
from support.dynamodb import Table, a_table
from support.existing_front_end import Bubble, FirstFrontEnd, LaterFrontEnd
from support.existing_items import A_DATE, dates_of
from support.http_server import serving
from support.patience import PATIENCE_S, PATIENT
from support.pinecone_server import API_KEY, PineconeServer, pinecone_server

SENT_AT = "2026-11-28T01:30:00.000Z"
"""Friday evening in Los Angeles, Saturday in UTC."""

WORKOUTS, SUMMARIES = "build-workout", "build-conversation-summary"
FRONT_ENDS = pytest.mark.parametrize("front_end", [FirstFrontEnd, LaterFrontEnd])
COACH = {
    "coach_id": "mara",
    "coach_name": "Mara",
    "generated_prompts": {"personality_prompt": "You are Mara."},
    "metadata": {"total_conversations": 1},
    "an_idea": {"weights": [Decimal("1.5"), None]},
}
DATE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")
LOGS = {"isWorkoutLog": True, "workoutConfidence": 0.9}
REMEMBERS = {
    "isMemoryRequest": True,
    "memoryConfidence": 0.9,
    "memoryText": "I am allergic to peanuts",
    "memoryType": "constraint",
    "memoryImportance": "high",
    "memoryTags": ["allergy", "food"],
}


@dataclass
class Swap:
    """The functions, everything around them, and the current scenario's user."""

    table: Table
    bedrock: BedrockServer
    pinecone: PineconeServer
    functions: Invocations
    tokens: KnownTokens
    stream: httpx.AsyncClient
    send: httpx.AsyncClient
    conversations: httpx.AsyncClient
    hasty: httpx.AsyncClient
    services: Services
    key: ConversationKey = field(default_factory=lambda: ConversationKey("nobody", "mara", "none"))

    async def begin(self, user_id: str) -> None:
        """Start a scenario: a user with a coach and a conversation, in the existing functions' shapes."""
        self.key = ConversationKey(user_id, "mara", f"conv_1790000000000_{user_id[-9:]:0>9}")
        self.tokens.tokens[user_id] = Identity(user_id, f"sub-{user_id}")
        for client in (self.stream, self.send, self.conversations, self.hasty):
            client.headers["authorization"] = f"Bearer {user_id}"
        for server in (self.bedrock.answers, self.bedrock.requests, self.bedrock.analyses):
            server.clear()
        self.bedrock.verdict, self.bedrock.guardrail, self.bedrock.always = verdict(), None, None
        self.functions.payloads.clear()
        began = "2026-11-20T08:00:00.000Z"
        envelope = {"pk": f"user#{user_id}", "createdAt": began, "updatedAt": began}
        await self.table.put(
            envelope | {"sk": "coach#mara", "entityType": "coachConfig", "attributes": COACH}
        )
        conversation = {
            "conversationId": self.key.conversation_id,
            "coachId": "mara",
            "userId": user_id,
            "title": "Friday, 3:20 PM",
            "messages": [],
            "mode": "chat",
            "metadata": {"startedAt": began, "lastActivity": began, "totalMessages": 0, "isActive": True},
        }
        sk = f"coachConversation#mara#{self.key.conversation_id}"
        item = {"sk": sk, "entityType": "coachConversation", "attributes": conversation}
        await self.table.put({**envelope, **item})

    @property
    def path(self) -> str:
        """The conversation's path."""
        return f"users/{self.key.user_id}/coaches/mara/conversations/{self.key.conversation_id}"

    async def say(
        self,
        words: str,
        front_end: type[FirstFrontEnd] = LaterFrontEnd,
        more: Mapping[str, object] | None = None,
    ) -> Bubble:
        """Send a message as a front end does, and return what its user sees."""
        body = {"userResponse": words, "messageTimestamp": SENT_AT, **(more or {})}
        return await front_end(self.stream, self.send).send(self.path, body)

    async def items(self, prefix: str) -> list[dict[str, Any]]:
        """The user's items whose sort keys begin with this."""
        condition, values = "pk = :pk", {":pk": f"user#{self.key.user_id}"}
        if prefix:
            condition, values = f"{condition} AND begins_with(sk, :sk)", values | {":sk": prefix}
        found = await self.table.raw(
            "query",
            KeyConditionExpression=condition,
            ExpressionAttributeValues=to_item(values),
            ConsistentRead=True,
        )
        return [from_item(item) for item in found["Items"]]

    async def listed(self) -> list[dict[str, Any]]:
        """The messages in the conversation's own list, which the existing functions read."""
        [item] = await self.items("coachConversation#")
        messages: list[dict[str, Any]] = item["attributes"]["messages"]
        return messages

    async def stored(self) -> list[dict[str, Any]]:
        """The messages that our functions return."""
        response = await self.conversations.get(self.path)
        messages: list[dict[str, Any]] = response.json()["conversation"]["messages"]
        return messages

    @property
    def prompt(self) -> str:
        """The last prompt."""
        return json.dumps(self.bedrock.requests[-1].body, ensure_ascii=False)

    def workout(self, words: str, **more: object) -> tuple[str, dict[str, object]]:
        """The invocation of the workout function (section 8)."""
        return WORKOUTS, {
            **self._names,
            "userMessage": words,
            "coachConfig": COACH | {"an_idea": {"weights": [1.5, None]}},
            "isSlashCommand": False,
            "messageTimestamp": SENT_AT,
            "userTimezone": "UTC",
            **more,
        }

    def summary(self, reason: str, count: int, **more: object) -> tuple[str, dict[str, object]]:
        """The invocation of the summary function (section 8)."""
        return SUMMARIES, {**self._names, "triggerReason": reason, "messageCount": count, **more}

    @property
    def _names(self) -> dict[str, object]:
        return {"userId": self.key.user_id, "coachId": "mara", "conversationId": self.key.conversation_id}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def backend(dynamodb_local_url: str) -> AsyncIterator[Swap]:
    """All servers, for all scenarios."""
    with pytest.MonkeyPatch.context() as patch:
        async with AsyncExitStack() as stack:
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            table = await stack.enter_async_context(a_table(dynamodb_local_url))
            bedrock = await stack.enter_async_context(bedrock_server())
            pinecone = await stack.enter_async_context(pinecone_server())
            functions = Invocations()
            functions_port = await stack.enter_async_context(serving(functions))
            patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_local_url)
            patch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", bedrock.url)
            patch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"http://127.0.0.1:{functions_port}")
            settings = Settings.from_environment(
                {
                    "AWS_REGION": "us-west-2",
                    "COACHSTREAM_STORE": "dynamodb",
                    "DYNAMODB_TABLE_NAME": table.name,
                    "MIRROR_MESSAGES": "true",
                    "COACHSTREAM_MODEL": "bedrock",
                    "COACHSTREAM_MODEL_ID": "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
                    "COACHSTREAM_MODEL_STALL_S": PATIENT["COACHSTREAM_MODEL_STALL_S"],
                    "BEDROCK_GUARDRAIL_ID": "abc123",
                    "COACHSTREAM_GUARDRAIL_MODE": "warn",
                    "COACHSTREAM_IDENTITY": "local",
                    "COACHSTREAM_DATA_DIR": "/nonexistent",
                    "COACHSTREAM_RECALL": "pinecone",
                    "PINECONE_API_KEY": API_KEY,
                    "PINECONE_INDEX_HOST": pinecone.url,
                    "BUILD_WORKOUT_FUNCTION_NAME": WORKOUTS,
                    "BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME": SUMMARIES,
                }
            )
            services = Services(settings)
            stack.push_async_callback(services.aclose)
            tokens = KnownTokens({"junk": InvalidTokenFormat()})
            services.verifier = tokens
            clients = [
                await stack.enter_async_context(_served(handler(lambda: services), timeout_s))
                for handler, timeout_s in (
                    (stream_handler, 60.0),
                    (send_handler, 60.0),
                    (conversations_handler, 60.0),
                    (stream_handler, 4.5),
                )
            ]
            stream, send, conversations, hasty = clients
            yield Swap(
                table, bedrock, pinecone, functions, tokens, stream, send, conversations, hasty, services
            )


@asynccontextmanager
async def _served(handler: Any, timeout_s: float) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ANN401
    async with (
        serving(to_asgi(handler, timeout_s=timeout_s, drain_timeout_s=5)) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/", timeout=PATIENCE_S, trust_env=False
        ) as client,
    ):
        yield client


_NUMBERS = itertools.count(1)


@pytest.fixture
async def swap(backend: Swap) -> Swap:
    """A new scenario."""
    await backend.begin(f"user-{next(_NUMBERS)}")
    return backend


def assert_is_message(message: Mapping[str, Any], role: str, content: str) -> None:
    """The contract's shape of a message (section 1.4)."""
    assert (
        {"id", "role", "content", "timestamp"}
        <= message.keys()
        <= {
            *("id", "role", "content", "timestamp", "metadata"),
            *("conversationId", "coachId", "userId"),
        }
    )
    assert (message["role"], message["content"]) == (role, content)
    assert re.fullmatch(rf"msg_\d{{13}}_[a-z0-9]+_{role}", message["id"])
    assert DATE.fullmatch(message["timestamp"])
    if role == "assistant":
        assert message["metadata"]["model"] == "claude-3-7-sonnet"


async def assert_is_turn(swap: Swap, words: str, said: str) -> None:
    """One turn is stored, and looks to the existing functions as if they had written it."""
    listed = await swap.listed()
    assert len(listed) == 2
    items = await swap.items("coachConversation#")
    attributes = items[0]["attributes"]
    assert attributes["metadata"]["totalMessages"] == 2
    assert (attributes["title"], attributes["mode"]) == ("Friday, 3:20 PM", "chat")
    assert items[0]["createdAt"] == "2026-11-20T08:00:00.000Z"
    assert DATE.fullmatch(items[0]["updatedAt"])
    for message, role, content in zip(listed, ("user", "assistant"), (words, said), strict=True):
        assert_is_message(message, role, content)
    assert listed[0]["timestamp"] == SENT_AT
    assert attributes["metadata"]["lastActivity"] == listed[1]["timestamp"]
    assert [message["id"] for message in await swap.stored()] == [message["id"] for message in listed]
    for item in await swap.items(""):
        for name, value in dates_of(item):
            assert not isinstance(value, str) or not A_DATE.fullmatch(value) or DATE.fullmatch(value), name


@dataclass(frozen=True)
class OneMessage:
    """A message and what the contract says of it.

    Attributes:
        verdict: of the message analysis, over a plain one.
        workout: what the workout function gets over the usual payload; None if it is not invoked.
        memory: the stored memory's attributes; None if there is none.
        stages: how many status lines the later front end shows.
        preface: what the reply begins with.
        is_complex: whether a summary is requested.
        more: more fields of the request.
    """

    words: str
    verdict: Mapping[str, object] = field(default_factory=dict)
    workout: Mapping[str, object] | None = None
    memory: Mapping[str, object] | None = None
    stages: int = 0
    preface: str = ""
    is_complex: bool = False
    more: Mapping[str, object] = field(default_factory=dict)


def remembered(content: str, source: str, **traits: object) -> dict[str, object]:
    """The attributes of a memory (section 1.4), without its id and times."""
    given = {"memoryType": "preference", "importance": "medium", "tags": [], **traits}
    return {"content": content, "source": source, **given}


MESSAGES = {
    "a greeting": OneMessage("Hello!"),
    "thanks": OneMessage("Thanks 💪", {"needsSearch": False}),
    "a workout by command": OneMessage(
        "/log-workout 5x5 squats at 100kg",
        workout={
            "userMessage": "5x5 squats at 100kg",
            "isSlashCommand": True,
            "slashCommand": "log-workout",
        },
        stages=1,
    ),
    "a command in capitals": OneMessage(
        "/LOG-Workout\n 21-15-9 ",
        workout={"userMessage": "21-15-9", "isSlashCommand": True, "slashCommand": "log-workout"},
        stages=1,
    ),
    "a command without content": OneMessage(
        "/log-workout",
        workout={"userMessage": "/log-workout", "isSlashCommand": True, "slashCommand": "log-workout"},
        stages=1,
    ),
    "a command after a blank": OneMessage(" /log-workout 5x5"),
    "an unknown command": OneMessage("/plan my week", LOGS | REMEMBERS),
    "a workout in plain words": OneMessage("I just did 5x5 squats at 100kg", LOGS, workout={}, stages=1),
    "a workout that is not certain enough": OneMessage("I squatted", LOGS | {"workoutConfidence": 0.5}),
    "a workout that is hardly certain enough": OneMessage(
        "I squatted", LOGS | {"workoutConfidence": 0.51}, workout={}, stages=1
    ),
    "a workout far from UTC": OneMessage(
        "I just did 5x5 squats at 100kg",
        LOGS,
        workout={"userTimezone": "America/Los_Angeles"},
        stages=1,
        more={"userTimezone": "America/Los_Angeles"},
    ),
    "a memory by command": OneMessage(
        "/save-memory I train before breakfast",
        memory=remembered("I train before breakfast", "explicit_request", tags=["preference", "helpful"]),
        preface='\u2705 I will remember this: "I train before breakfast"\n\n',
    ),
    "a memory command without content": OneMessage("/save-memory  ", preface="\u274c"),
    "a memory in plain words": OneMessage(
        "Please remember that I am allergic to peanuts",
        REMEMBERS,
        memory=remembered(
            "I am allergic to peanuts",
            "conversation",
            memoryType="constraint",
            importance="high",
            tags=["allergy", "food"],
        ),
        stages=1,
    ),
    "a memory for this coach": OneMessage(
        "Please remember that I am allergic to peanuts",
        REMEMBERS | {"memoryIsCoachSpecific": True},
        memory=remembered(
            "I am allergic to peanuts",
            "conversation",
            coachId="mara",
            memoryType="constraint",
            importance="high",
            tags=["allergy", "food"],
        ),
        stages=1,
    ),
    "a memory that is not certain enough": OneMessage(
        "Remember peanuts", REMEMBERS | {"memoryConfidence": 0.7, "memoryText": "peanuts"}
    ),
    "a workout and a memory": OneMessage(
        "Did 5x5 squats. Remember that I am allergic to peanuts",
        LOGS | REMEMBERS,
        workout={},
        memory=remembered(
            "I am allergic to peanuts",
            "conversation",
            memoryType="constraint",
            importance="high",
            tags=["allergy", "food"],
        ),
        stages=2,
    ),
    "something grave": OneMessage("I am devastated, I tore my ACL", {"isComplex": True}, is_complex=True),
}


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_message_has_the_effects_that_it_has_with_the_existing_functions(
    swap: Swap, name: str
) -> None:
    """The items and the invocations are those of the contract, field by field."""
    scenario = MESSAGES[name]
    swap.bedrock.verdict = verdict(**scenario.verdict)
    swap.bedrock.answers.append(reply("Nice ", "work."))
    bubble = await swap.say(scenario.words, more=scenario.more)
    assert (bubble.is_streaming, bubble.failure, bubble.warning) == (False, None, None)
    assert bubble.text.startswith(scenario.preface)
    assert bubble.text.endswith("Nice work.")
    assert bool(scenario.preface) or bubble.text == "Nice work."
    assert len(bubble.status) == scenario.stages
    await assert_is_turn(swap, scenario.words, bubble.text)
    expected = []
    if scenario.workout is not None:
        expected.append(swap.workout(scenario.words, **scenario.workout))
    if scenario.is_complex:
        expected.append(swap.summary("complexity", 2, complexityIndicators=["complexity_detected"]))
    assert swap.functions.payloads == expected
    memories = [_memory_in(swap, item) for item in await swap.items("userMemory#")]
    assert memories == ([] if scenario.memory is None else [{"coachId": None, **scenario.memory}])


def _memory_in(swap: Swap, item: Mapping[str, Any]) -> dict[str, object]:
    """Check the shape of a memory's item, and return what was chosen of it."""
    assert item["entityType"] == "userMemory"
    attributes = item["attributes"]
    metadata = attributes["metadata"]
    assert item["sk"] == f"userMemory#{attributes['memoryId']}"
    assert attributes["memoryId"].startswith("user_memory_")
    assert attributes["userId"] == swap.key.user_id
    assert metadata["usageCount"] == 0
    assert DATE.fullmatch(metadata["createdAt"])
    assert attributes.keys() == {"memoryId", "userId", "coachId", "content", "memoryType", "metadata"}
    return {
        **{name: attributes[name] for name in ("coachId", "content", "memoryType")},
        **{name: metadata[name] for name in ("source", "importance", "tags")},
    }


ANALYSES: Mapping[str, ModelResponse] = {
    "slow": Reply([], before=[Silence()]),
    "of another shape": Reply([*text("I think it is a workout."), *closing()]),
    "wrong": verdict(isWorkoutLog="yes", memoryConfidence="very"),
    "out of bounds": verdict(isWorkoutLog=True, workoutConfidence=17),
    "malformed": Reply([Bytes(b"{")]),
    "throttled": Refusal(429, "ThrottlingException"),
    "broken": Refusal(500, "InternalServerException"),
    "cut off": Reply([], before=[Disconnect()]),
    "not allowed": Refusal(403, "AccessDeniedException"),
}


@pytest.mark.parametrize("name", ANALYSES)
async def test_a_turn_whose_analysis_fails_lacks_only_the_extra(swap: Swap, name: str) -> None:
    """The reply and the items are those of the same turn; nothing is handed off or claimed."""
    swap.bedrock.verdict = ANALYSES[name]
    swap.bedrock.answers.append(reply("Nice work."))
    bubble = await swap.say("I just did 5x5 squats at 100kg")
    assert (bubble.text, bubble.failure, bubble.status) == ("Nice work.", None, [])
    assert len(swap.bedrock.analyses) == 1
    await assert_is_turn(swap, "I just did 5x5 squats at 100kg", "Nice work.")
    assert swap.functions.payloads == []
    assert await swap.items("userMemory#") == []


async def test_a_turn_without_an_analyser_is_the_same(swap: Swap) -> None:
    """Commands never need it."""
    analyser, swap.services.analyser = swap.services.analyser, None
    try:
        bubble = await swap.say("/log-workout 5x5 squats")
    finally:
        swap.services.analyser = analyser
    assert bubble.failure is None
    assert swap.bedrock.analyses == []
    command = {"isSlashCommand": True, "slashCommand": "log-workout"}
    assert swap.functions.payloads == [swap.workout("5x5 squats", **command)]


async def test_every_sixth_message_requests_a_summary(swap: Swap) -> None:
    """The payload has no indicators then; a stored summary and profile feed the next prompt."""
    for number in range(3):
        await swap.say(f"Message {number}", front_end=FirstFrontEnd)
    assert swap.functions.payloads == [swap.summary("message_count", 6)]
    envelope = {"pk": f"user#{swap.key.user_id}", "createdAt": SENT_AT, "updatedAt": SENT_AT}
    narrative = {"conversationId": swap.key.conversation_id, "narrative": "Sam fears heavy snatches."}
    sk = f"conversation#{swap.key.conversation_id}#summary"
    await swap.table.put(envelope | {"sk": sk, "entityType": "conversationSummary", "attributes": narrative})
    profile = {
        "userId": swap.key.user_id,
        "firstName": "Sam",
        "preferences": {"timezone": "Asia/Tokyo"},
        "criticalTrainingDirective": {"enabled": True, "content": "No jumping."},
    }
    await swap.table.put(envelope | {"sk": "profile", "entityType": "user", "attributes": profile})
    swap.bedrock.verdict = verdict(**LOGS)
    await swap.say("I ran 5 km")
    assert "Sam fears heavy snatches." in swap.prompt
    assert "No jumping." in swap.prompt
    assert "Asia/Tokyo" in swap.prompt
    assert swap.functions.payloads[1:] == [swap.workout("I ran 5 km", userTimezone="Asia/Tokyo")]


@pytest.mark.parametrize(
    "content",
    [
        {"imageS3Keys": ["user-uploads/sam/1.jpg"]},
        {"documentS3Keys": ["user-uploads/sam/1.pdf"]},
        {"messageType": "text_with_images"},
    ],
    ids=["images", "documents", "another type"],
)
@FRONT_ENDS
async def test_an_attachment_is_refused_and_never_ignored(
    swap: Swap, content: dict[str, object], front_end: type[FirstFrontEnd]
) -> None:
    """Both versions show an error; nothing is stored, and no model is called."""
    bubble = await swap.say("What is this?", front_end, content)
    assert (bubble.text, bubble.failure, bubble.is_streaming) == ("", "error", False)
    assert {status for _, status in bubble.requests} == {400}
    assert await swap.stored() == await swap.listed() == []
    assert swap.bedrock.requests == []


async def test_the_first_message_of_a_conversation_comes_by_a_direct_invocation(swap: Swap) -> None:
    """As create-conversation sends it: without a token, and with exactly two fields."""
    ids = {"userId": swap.key.user_id, "coachId": "mara", "conversationId": swap.key.conversation_id}
    body = json.dumps({"userResponse": "Hello!", "messageTimestamp": SENT_AT})
    swap.bedrock.answers.append(reply("Welcome."))
    result = await _invoked(send_handler, swap, {"pathParameters": ids, "body": body})
    assert result["statusCode"] == 200
    assert_is_sent(json.loads(result["body"]), swap, "Hello!", "Welcome.")
    await assert_is_turn(swap, "Hello!", "Welcome.")


async def test_a_path_may_begin_with_its_stage(swap: Swap) -> None:
    """An HTTP API puts the stage's name in front, unless it is the default one."""
    event = {
        "version": "2.0",
        "rawPath": f"/prod/{swap.path}/send-message",
        "headers": {"authorization": f"Bearer {swap.key.user_id}"},
        "requestContext": {"stage": "prod", "http": {"method": "POST", "path": f"/prod/{swap.path}"}},
        "body": json.dumps({"userResponse": "Hello!", "messageTimestamp": SENT_AT}),
        "isBase64Encoded": False,
    }
    swap.bedrock.answers.append(reply("Welcome."))
    result = await _invoked(send_handler, swap, event)
    assert result["statusCode"] == 200
    await assert_is_turn(swap, "Hello!", "Welcome.")


def assert_is_sent(body: dict[str, Any], swap: Swap, words: str, said: str) -> None:
    """The body of send-message (section 2.1)."""
    assert list(body) == [
        *("success", "message", "userResponse", "aiResponse", "conversationId", "pineconeContext"),
    ]
    assert (body["success"], body["message"]) == (True, "Conversation updated successfully")
    assert body["conversationId"] == swap.key.conversation_id
    assert body["pineconeContext"].keys() == {"used", "matches", "contextLength"}
    assert_is_message(body["userResponse"], "user", words)
    assert_is_message(body["aiResponse"], "assistant", said)


class _Context:
    aws_request_id = "7f2c"
    function_name = "send"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class _Result:
    def __init__(self) -> None:
        self.data = b""

    async def open(self, content_type: str) -> None:
        assert content_type

    async def send(self, data: bytes) -> None:
        self.data += data

    async def close(self, last: bytes = b"") -> None:
        self.data += last


async def _invoked(handler_for: Any, swap: Swap, payload: object) -> Any:  # noqa: ANN401 (JSON)
    """The result of an invocation of a function."""
    result = _Result()
    install_driver(lambda invocation: invocation)
    try:
        invocation = handler_for(lambda: swap.services)(payload, _Context())
    finally:
        install_driver(None)
    await cast("Any", invocation)(result)
    prelude, _, body = result.data.partition(b"\0" * 8)
    return {**json.loads(prelude), "body": body.decode()} if body else json.loads(prelude)


async def test_the_response_without_a_stream_is_that_of_the_existing_function(swap: Swap) -> None:
    """Its fields and their order included."""
    swap.bedrock.answers.append(reply("Welcome."))
    body = {"userResponse": "Hello!", "messageTimestamp": SENT_AT}
    response = await swap.send.post(f"{swap.path}/send-message", json=body)
    assert response.status_code == 200
    assert_is_sent(response.json(), swap, "Hello!", "Welcome.")
    await assert_is_turn(swap, "Hello!", "Welcome.")


async def test_a_deletion_takes_the_summary_and_its_vectors_along(swap: Swap) -> None:
    """Nothing of the conversation is left; workouts, memories and the coach are."""
    await swap.say("/save-memory I train before breakfast")
    envelope = {"pk": f"user#{swap.key.user_id}", "createdAt": SENT_AT, "updatedAt": SENT_AT}
    sk = f"conversation#{swap.key.conversation_id}#summary"
    summary = {"conversationId": swap.key.conversation_id, "narrative": "A start."}
    await swap.table.put(envelope | {"sk": sk, "entityType": "conversationSummary", "attributes": summary})
    namespace = swap.pinecone.records.setdefault(f"user_{swap.key.user_id}", {})
    namespace["s1"] = {
        "_id": "s1",
        "text": "A start.",
        "recordType": "conversation_summary",
        "conversationId": swap.key.conversation_id,
    }
    response = await swap.conversations.delete(swap.path)
    assert response.status_code == 200
    assert response.json()["pineconeCleanup"] is True
    assert await swap.items("coachConversation#") == await swap.items("conversation#") == []
    assert "s1" not in namespace
    assert len(await swap.items("userMemory#")) == 1
    assert len(await swap.items("coach#")) == 1


@FRONT_ENDS
@pytest.mark.parametrize("only_detects", [True, False], ids=["detected", "blocked"])
async def test_a_flagged_reply_is_kept_with_a_warning(
    swap: Swap, front_end: type[FirstFrontEnd], only_detects: bool
) -> None:
    """The later version shows the warning, the first one skips it; the list has the existing mark."""
    swap.bedrock.guardrail = WordGuardrail(("brutal",), only_detects=only_detects)
    swap.bedrock.answers.append(reply("Well, ", "a brutal ", "session."))
    bubble = await swap.say("How was it?", front_end)
    assert (bubble.failure, bubble.is_streaming) == (None, False)
    assert bubble.text.startswith("Well, ")
    assert bubble.text == ("Well, a brutal session." if only_detects else bubble.text)
    assert (bubble.warning is not None) == (front_end is LaterFrontEnd)
    assert ("guardrail_warning" in bubble.unknown) == (front_end is FirstFrontEnd)
    await assert_is_turn(swap, "How was it?", bubble.text)
    question, said = await swap.listed()
    assert "guardrailWarning" not in question.get("metadata", {})
    assert said["metadata"]["guardrailWarning"] is True
    assert (await swap.stored())[1]["metadata"]["guardrailWarning"] is True
    await swap.say("And now?", front_end)
    assert "brutal" not in swap.prompt


@FRONT_ENDS
async def test_a_message_during_a_reply_is_stored_and_can_be_sent_again(
    swap: Swap, front_end: type[FirstFrontEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By policy: the user reads an error, but nothing is lost or doubled, and the order is kept."""
    rejecting = msgspec.structs.replace(swap.services.turn_settings.runs, policy=TurnPolicy.REJECT)
    settings = msgspec.structs.replace(swap.services.turn_settings, runs=rejecting)
    monkeypatch.setattr(swap.services, "turn_settings", settings)
    gate = asyncio.Event()
    swap.bedrock.answers.append(Reply([opening(), *text("One."), Until(gate), *closing()]))
    first = asyncio.create_task(swap.say("First", front_end))
    await swap.bedrock.request()
    second = await swap.say("Second", front_end)
    assert (second.text, second.failure, second.is_streaming) == ("", "error", False)
    assert second.requests[-1][1] == (409 if front_end is FirstFrontEnd else 200)
    assert [message["content"] for message in await swap.stored()] == ["First", "Second"]
    gate.set()
    assert (await first).text == "One."
    swap.bedrock.answers.append(reply("Two."))
    assert (await swap.say("Second", front_end)).text == "Two."
    contents = [message["content"] for message in await swap.stored()]
    assert contents == ["First", "One.", "Second", "Two."]
    assert [message["content"] for message in await swap.listed()] == contents
    [item] = await swap.items("coachConversation#")
    assert item["attributes"]["metadata"]["totalMessages"] == 4


async def test_a_front_end_that_knows_of_no_queue_gets_its_reply_in_turn(swap: Swap) -> None:
    """It skips the event, and its stream stays open until the reply."""
    gate = asyncio.Event()
    swap.bedrock.answers += [Reply([opening(), *text("One."), Until(gate), *closing()]), reply("Two.")]
    first = asyncio.create_task(swap.say("First", LaterFrontEnd))
    await swap.bedrock.request()
    second = asyncio.create_task(swap.say("Second", LaterFrontEnd))
    async with asyncio.timeout(PATIENCE_S):
        while not (await swap.services.store.read_queue(swap.key)).queued:  # noqa: ASYNC110 (a store's content)
            await asyncio.sleep(0.01)
    gate.set()
    assert (await first).text == "One."
    bubble = await second
    assert (bubble.text, bubble.failure) == ("Two.", None)
    assert "queued" in bubble.unknown
    contents = [message["content"] for message in await swap.listed()]
    assert contents == ["First", "One.", "Second", "Two."]


async def test_a_message_during_a_reply_says_that_it_is_stored(swap: Swap) -> None:
    """By policy: both routes name the run and the stored message; the same key begins its reply later."""
    gate = asyncio.Event()
    swap.bedrock.answers.append(Reply([opening(), *text("One."), Until(gate), *closing()]))
    first = asyncio.create_task(swap.say("First"))
    await swap.bedrock.request()
    body = {
        "userResponse": "Second",
        "messageTimestamp": SENT_AT,
        "clientMessageId": "c-2",
        "policy": "reject",
    }
    for _ in range(2):
        response = await swap.stream.post(f"{swap.path}/stream", json=body)
        *_, error = _events_in(response)
        assert (error["type"], error["code"], error["retryable"]) == ("error", "TURN_IN_PROGRESS", True)
        assert_is_message(error["userMessage"], "user", "Second")
        assert error["runId"].startswith("run_")
    refused = (await swap.send.post(f"{swap.path}/send-message", json=body)).json()
    assert refused["details"]["userResponse"] == error["userMessage"]
    assert [message["content"] for message in await swap.stored()] == ["First", "Second"]
    gate.set()
    await first
    *_, complete = _events_in(await swap.stream.post(f"{swap.path}/stream", json=body))
    assert complete["userMessage"] == error["userMessage"]
    assert len(await swap.stored()) == 4


def _events_in(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(data) for data in SseReader().feed(response.content)]


REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "no token": ({"headers": {"authorization": ""}, "json": {"userResponse": "Hi"}}, "MISSING_AUTH_HEADER"),
    "junk": ({"headers": {"authorization": "Bearer junk"}, "json": {}}, "INVALID_TOKEN_FORMAT"),
    "no body": ({}, "MISSING_REQUEST_BODY"),
    "no JSON": ({"content": b"{"}, "INVALID_JSON"),
    "no message": ({"json": {"messageTimestamp": SENT_AT}}, "INVALID_USER_RESPONSE"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_has_the_code_of_the_contract(swap: Swap, name: str) -> None:
    """The scenarios 5, 6 and 8 to 10 of the existing test script (section 7.4)."""
    request, code = REFUSED[name]
    response = await swap.stream.post(f"/{swap.path}/stream", **request)
    assert [(event["type"], event["code"]) for event in _events_in(response)] == [("error", code)]
    assert await swap.stored() == []


async def test_a_path_that_does_not_fit_has_the_code_of_the_contract(swap: Swap) -> None:
    """Scenario 7 of the existing test script."""
    response = await swap.stream.post(f"users/{swap.key.user_id}/invalid/path", json={"userResponse": "Hi"})
    assert _events_in(response)[0]["code"] == "MISSING_PATH_PARAMS"


ENDS: Mapping[str, tuple[ModelResponse, str, str | None]] = {
    "a complete reply": (reply("Nice ", "work."), "Nice work.", None),
    "a truncated reply": (reply("Nice ", reason="max_tokens"), "Nice ", None),
    "a reply of many lines": (reply("One.\n", "data: two\n\n", "three \u2028 four"), "", None),
    "a rejected request": (Refusal(403, "AccessDeniedException"), "", "error"),
    "a reply that breaks off": (
        Reply([opening(), *text("Ni"), *closing("malformed_model_output")]),
        "",
        "error",
    ),
}


@FRONT_ENDS
@pytest.mark.parametrize("name", ENDS)
async def test_every_front_end_reads_every_end(swap: Swap, front_end: type[FirstFrontEnd], name: str) -> None:
    """No bubble stays in its streaming state, and none shows another text than the stored one."""
    response, said, failure = ENDS[name]
    swap.bedrock.always = response
    bubble = await swap.say("Hello!", front_end)
    assert (bubble.failure, bubble.is_streaming) == (failure, False)
    stored = await swap.stored()
    assert [message["role"] for message in stored][:1] == ["user"]
    assert sum(message["role"] == "user" for message in stored) == 1
    if failure is None:
        assert bubble.text == stored[1]["content"]
        assert said in {"", bubble.text}


async def test_a_stream_that_is_cut_is_recovered_by_the_first_front_end(swap: Swap) -> None:
    """Its second request, by the same text, gets the one reply: the turn is not processed twice."""
    swap.bedrock.answers.append(reply("One."))
    body = {"userResponse": "Hello!", "messageTimestamp": SENT_AT}
    async with swap.stream.stream("POST", f"{swap.path}/stream", json=body) as response:
        received = b""
        async for data in response.aiter_bytes():
            received += data
            if b'"chunk"' in received:
                break
    again = await swap.send.post(f"{swap.path}/send-message", json=body)
    assert again.json()["aiResponse"]["content"] == "One."
    assert len(swap.bedrock.requests) == 1
    assert len(await swap.stored()) == 2


async def test_a_function_at_its_timeout_leaves_the_reply_to_the_second_request(swap: Swap) -> None:
    """Neither version knows `reconnect`: the first one's own timeout leads it to the other function."""
    gate = asyncio.Event()
    swap.bedrock.answers.append(Reply([opening(), *text("One, "), Until(gate), *closing()]))
    swap.bedrock.answers.append(reply("two."))
    body = {"userResponse": "Hello!", "messageTimestamp": SENT_AT}
    bubble = await FirstFrontEnd(swap.hasty, swap.send).send(swap.path, body)
    assert (bubble.is_streaming, bubble.text) == (True, "One, ")
    assert "reconnect" in bubble.unknown
    again = await swap.send.post(f"{swap.path}/send-message", json=body)
    assert again.json()["aiResponse"]["content"].startswith("One, ")
    assert len(await swap.stored()) == 2


async def test_turns_of_both_systems_interleave_without_loss(swap: Swap) -> None:
    """An append of the existing function between ours is in the next prompt, and stays in its place."""
    await swap.say("Ours, first")
    [item] = await swap.items("coachConversation#")
    theirs = {
        "id": f"msg_{int(item['attributes']['messages'][-1]['id'][4:17]) + 5}_user",
        "role": "user",
        "content": "Theirs",
        "timestamp": "2026-11-28T01:40:00.000Z",
    }
    item["attributes"]["messages"].append(theirs)
    await swap.table.put(item)
    await swap.say("Ours, last")
    assert "Theirs" in swap.prompt
    contents = [message["content"] for message in await swap.listed() if message["role"] == "user"]
    assert contents == ["Ours, first", "Theirs", "Ours, last"]
    assert (await swap.listed())[2] == theirs


async def test_a_list_keeps_the_fields_that_only_the_existing_front_end_knows(swap: Swap) -> None:
    """An inline drawer finds its conversation by `mode`; titles and counts are the stored ones."""
    listed = (await swap.conversations.get(swap.path.rpartition("/")[0])).json()
    [conversation] = listed["conversations"]
    assert (conversation["mode"], conversation["title"], listed["count"]) == ("chat", "Friday, 3:20 PM", 1)
    assert "messages" not in conversation
