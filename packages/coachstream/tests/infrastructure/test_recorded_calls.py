"""The functions' real AWS calls, compared with their policies: no permission is missing or unused.

Each function runs with its template's environment and makes real HTTP calls to DynamoDB Local and to servers
with the wire formats of Bedrock, Lambda, Secrets Manager and Pinecone. Proxies in between read every request
as AWS would.
"""

from __future__ import annotations

import ast
import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec
import pytest

from coachstream.conversation.model import ConversationKey
from coachstream.conversation.ports import SummaryReason, SummaryRequest, TitleRequest
from coachstream.conversation.run_log import LogEntry, Said
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.hand_off.post_turn import event_of
from coachstream.services import Services
from coachstream.settings import Settings
from coachstream.storage.dynamodb import table_client
from contracts.conversation_store import conversation
from contracts.store_records import reply_to, store_reply, user_message
from lambda_streaming import to_asgi
from lambda_streaming.function_url import InProcessInvoker
from lambda_streaming.function_url.invoker import InvocationRequest
from lambda_streaming.streaming import LambdaHandler
from support.aws_calls import AwsCall, calls_of
from support.aws_stack import KEY, AwsStack, aws_stack
from support.bedrock_server import (
    Event,
    Refusal,
    Reply,
    StreamException,
    Until,
    closing,
    opening,
    reply,
    text,
)
from support.environments import text_of
from support.faulty_proxy import proxied
from support.http_server import serving
from support.patience import PATIENCE_S
from support.pinecone_server import API_KEY
from support.templates import Statement, Template

pytestmark = pytest.mark.usefixtures("aws_credentials")

VARIANTS = ("New", "Imported", "Mixed")
FUNCTIONS = {
    "StreamCoachConversation": "stream_coach_conversation",
    "SendCoachConversationMessage": "send_coach_conversation_message",
    "CoachConversations": "coach_conversations",
}
MODULES = {**FUNCTIONS, "ProcessPostTurn": "process_post_turn"}
TICKET_KEY = "k" * 64

NEVER_CALLED = {
    "logs:CreateLogStream": "Lambda's own agent does it, with the function's role",
    "logs:PutLogEvents": "Lambda's own agent does it, with the function's role",
    "xray:PutTraceSegments": "Lambda's own agent does it, with the function's role",
    "xray:PutTelemetryRecords": "Lambda's own agent does it, with the function's role",
}
"""Permissions that no request of a function uses, and why they are granted."""


class SecretsManager:
    """GetSecretValue (API reference) for any ARN: Pinecone's key, or one for tickets."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI)
        """Respond to one call."""
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message.get("more_body"):
                break
        arn = json.loads(body)["SecretId"]
        value = API_KEY if "pinecone" in arn.lower() else TICKET_KEY
        headers = [(b"content-type", b"application/x-amz-json-1.1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        answer = {"ARN": arn, "SecretString": value}
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


class Deployed:
    """A function as its template defines it, and its calls to AWS.

    Attributes:
        calls: the calls that policies must allow.
        operations: the DynamoDB operations, by their API names.
    """

    def __init__(self, stack: AwsStack, http: httpx.AsyncClient, handler: LambdaHandler) -> None:
        self.stack = stack
        self.http = http
        self.handler = handler
        self.calls: set[AwsCall] = set()
        self.operations: set[str] = set()

    def see(self, target: str, headers: Mapping[str, str], body: bytes, *, table: str) -> None:
        """Record a request; `table` is the table's name in the template."""
        service, _, operation = headers.get("x-amz-target", "").partition(".")
        if service.startswith("DynamoDB"):
            self.operations.add(operation)
        for call in calls_of(target, headers, body):
            resource = call.resource.replace(self.stack.table.name, table)
            self.calls.add(AwsCall(call.action, resource, call.context))

    async def a_conversation(self, name: str) -> str:
        """Create a conversation, bypassing the function, and return its path."""
        key = ConversationKey(KEY.user_id, KEY.coach_id, name)
        await self.stack.table.store().create_conversation(conversation(key))
        return f"users/{KEY.user_id}/coaches/{KEY.coach_id}/conversations/{name}"

    async def delete(self, name: str) -> None:
        """Delete a conversation, bypassing the function, while a segment of its run is still in flight."""
        key = ConversationKey(KEY.user_id, KEY.coach_id, name)
        store = self.stack.table.store()
        run_id = (await store.read_queue(key)).run_id
        assert run_id is not None
        await store.delete_conversation(key)
        late = LogEntry(1_000, 1, 0, "late", Said("too late", 0))
        assert await store.append(key, run_id, late) is None


@asynccontextmanager
async def deployed(
    template: Template,
    construct: str,
    dynamodb_local_url: str,
    moto_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Deployed]:
    """Serve a function with its template's environment, but with local endpoints and user pool."""
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(aws_stack(dynamodb_local_url, moto_url))
        secrets = await exits.enter_async_context(
            proxied(await exits.enter_async_context(serving(SecretsManager())))
        )
        its_own = template.environment(construct)
        environment = {
            **its_own,
            **{name: value for name, value in stack.environment.items() if name.startswith("AWS_")},
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets.url,
            "PINECONE_INDEX_HOST": stack.proxies["recall"].url,
            "PINECONE_CONTROLLER_HOST": stack.proxies["recall"].url,
            "USER_POOL_ID": stack.pool.id,
            "APP_CLIENT_ID": stack.pool.client_id,
            "DYNAMODB_TABLE_NAME": stack.table.name,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        services = Services(Settings.from_environment(environment))
        exits.push_async_callback(services.aclose)
        module: Any = import_module(f"coachstream.functions.{MODULES[construct]}.handler")
        handler = module.handler_for(lambda: services)
        port = await exits.enter_async_context(
            serving(to_asgi(handler, timeout_s=PATIENCE_S, drain_timeout_s=5))
        )
        http = await exits.enter_async_context(
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}/",
                headers={"authorization": f"Bearer {stack.token}"},
                timeout=PATIENCE_S,
                trust_env=False,
            )
        )
        function = Deployed(stack, http, handler)
        for proxy in (*stack.proxies.values(), secrets):
            proxy.sees = partial(function.see, table=its_own["DYNAMODB_TABLE_NAME"])
        yield function


BLOCKED = reply("I cannot say that.", reason="guardrail_intervened")


async def stream_everything(function: Deployed) -> None:
    """Start, break off, fail, lose the conversation; open for a reader, read and stop."""
    bedrock = function.stack.bedrock
    path = f"{await function.a_conversation('streamed')}/stream"

    async def say(words: str, *, at: str = path) -> str:
        answer = await function.http.post(at, json={"userResponse": words})
        assert answer.status_code == 200, answer.text
        return answer.text

    assert '"complete"' in await say("/save-memory I hate burpees")
    assert '"complete"' in await say("/log-workout 5x5 squats")
    assert '"complete"' in await say("The third message makes six.")
    bedrock.answers.append(Reply([opening(), *text("Half a "), StreamException("modelStreamErrorException")]))
    assert '"complete"' in await say("Somebody else has to go on.")
    bedrock.always = Refusal(400, "ValidationException")
    assert "MODEL_REJECTED" in await say("Nobody answers this.")
    bedrock.always = None
    bedrock.answers.append(BLOCKED)
    assert "CONTENT_FILTERED" in await say("/save-memory Something bad")
    await _lose_the_conversation(function, lambda lost: say("Gone.", at=f"{lost}/stream"))
    started = await function.http.post(
        path, json={"userResponse": "For an EventSource."}, headers={"accept": "application/json"}
    )
    assert started.status_code == 202, started.text
    url = urljoin(str(started.url), started.headers["location"])
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as event_source:
        read = await event_source.get(url)
    assert '"complete"' in read.text
    stopped = await function.http.delete(urlsplit(url).path)
    assert stopped.json()["status"] == "finished"


async def send_everything(function: Deployed) -> None:
    """Get a reply, get none, and lose the conversation during a reply."""
    path = f"{await function.a_conversation('sent')}/send-message"

    async def say(words: str, *, at: str = path) -> httpx.Response:
        return await function.http.post(at, json={"userResponse": words})

    for words in ("/save-memory I hate burpees", "/log-workout 5x5 squats", "The third message makes six."):
        answer = await say(words)
        assert answer.status_code == 200, answer.text
    function.stack.bedrock.always = Refusal(400, "ValidationException")
    assert (await say("Nobody answers this.")).status_code != 200
    function.stack.bedrock.always = None
    function.stack.bedrock.answers.append(BLOCKED)
    assert (await say("/save-memory Something bad")).status_code != 200
    await _lose_the_conversation(function, lambda lost: say("Gone.", at=f"{lost}/send-message"))


async def keep_everything(function: Deployed) -> None:
    """Create with and without a message, list, count, read, rename, delete; export and delete all data."""
    http, bedrock = function.http, function.stack.bedrock
    path = f"users/{KEY.user_id}/coaches/{KEY.coach_id}/conversations"
    half = Reply([opening(), *text("Half a "), StreamException("modelStreamErrorException")])
    for first, answers in (
        ("/save-memory I hate burpees", []),
        ("/log-workout 5x5 squats", []),
        ("/save-memory Something bad", [BLOCKED]),
        ("Somebody else has to go on.", [half]),
        ("Nobody answers this.", [Refusal(400, "ValidationException")]),
    ):
        bedrock.answers.extend(answers)
        created = await http.post(path, json={"initialMessage": first})
        assert created.status_code == 201, created.text
    assert (await http.get(path)).status_code == (await http.get(f"{path}/count")).status_code == 200
    one = f"{path}/{created.json()['conversation']['conversationId']}"
    for method, body in (("GET", None), ("PUT", {"title": "Legs"}), ("DELETE", None)):
        answer = await http.request(method, one, json=body)
        assert answer.status_code == 200, answer.text
    exported = await http.get(f"users/{KEY.user_id}/export")
    assert json.loads(exported.text.splitlines()[-1])["type"] == "complete"
    deleted = await http.delete(f"users/{KEY.user_id}/data")
    assert deleted.json()["isComplete"], deleted.text


async def _lose_the_conversation(function: Deployed, say: Callable[[str], Any]) -> None:
    """Delete a conversation while its reply is being written; nothing of it must be left.

    On a busy machine the function may notice before the late entry is there; then nothing is left to delete.
    """
    for number in itertools.count():
        await _lose(function, say, f"lost-{number}")
        if "BatchWriteItem" in function.operations:
            return


async def _lose(function: Deployed, say: Callable[[str], Any], name: str) -> None:
    gate = asyncio.Event()
    bedrock = function.stack.bedrock
    bedrock.answers.append(Reply([opening(), Until(gate), *reply("Too late.").steps[1:]]))
    number = len(bedrock.requests)
    path = await function.a_conversation(name)
    async with asyncio.timeout(PATIENCE_S):
        asking = asyncio.create_task(say(path))
        await bedrock.request(number)
        await function.delete(name)
        gate.set()
        await asking


DRIVES = {
    "StreamCoachConversation": stream_everything,
    "SendCoachConversationMessage": send_everything,
    "CoachConversations": keep_everything,
}


async def write_everything(function: Deployed) -> None:
    """A title and a summary, each twice."""
    key, store = ConversationKey(KEY.user_id, KEY.coach_id, "written"), function.stack.table.store()
    await store.create_conversation(conversation(key, title=DEFAULT_TITLE))
    message = user_message(1, "My knee hurts when I squat.")
    await store_reply(store, message, reply_to(message, 2), key=key)
    written = {"title": "Knee pain in squats", "narrative": "The knee hurts.", "confidence": 70}
    function.stack.bedrock.verdict = Reply([Event("toolUse", written), *closing("tool_use")])
    invoker = InProcessInvoker(function.handler, timeout_s=PATIENCE_S)
    for request in (TitleRequest(key), SummaryRequest(key, SummaryReason.MESSAGE_COUNT, 2)):
        for outcome in ("written", "not_due"):
            payload = msgspec.json.encode(event_of(request))
            invocation = InvocationRequest(payload=payload, request_id="r-1", trace_id="Root=1-0-0")
            assert json.loads(await text_of(await invoker.invoke(invocation))) == {"outcome": outcome}
    await invoker.aclose(PATIENCE_S)
    assert (await store.get_conversation(key)).title == "Knee pain in squats"
    assert (await store.load_summary(key)).narrative == "The knee hurts."


@pytest.mark.parametrize("variant", ["New", "Mixed"])
async def test_the_work_after_turns_is_allowed_what_it_asks_for_and_nothing_else(
    templates: Mapping[str, Template],
    dynamodb_local_url: str,
    moto_url: str,
    monkeypatch: pytest.MonkeyPatch,
    variant: str,
) -> None:
    """Only the queue of failed events is Lambda's to write to, with the function's role."""
    construct = "ProcessPostTurn"
    template = templates[variant]
    async with deployed(template, construct, dynamodb_local_url, moto_url, monkeypatch) as function:
        await write_everything(function)
        indexed = function.stack.pinecone.records[f"user_{KEY.user_id}"]
        assert "conversation_summary_written" in indexed
    statements = template.statements(construct)
    assert refused(function.calls, statements) == []
    assert {action for action, _ in idle(function.calls, statements)} == {
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:SendMessage",
    }
    table = next(call.resource for call in function.calls if call.action == "dynamodb:PutItem")
    shared = AwsCall("dynamodb:GetItem", table, (("dynamodb:LeadingKeys", "template#global"),))
    assert refused([shared], statements) == [shared]


def operations_of_the_store() -> set[str]:
    """Every operation that the store's code can request from DynamoDB, by API name."""
    tree = ast.parse(Path(table_client.__file__).read_text())
    names = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "_call"
        and isinstance(node.args[0], ast.Constant)
    }
    return {"".join(word.title() for word in str(name).split("_")) for name in names}


def refused(made: Iterable[AwsCall], allowed: Iterable[Statement]) -> list[AwsCall]:
    """The calls that no statement allows."""
    statements = list(allowed)
    return sorted(
        call
        for call in made
        if not any(each.allows(call.action, call.resource, dict(call.context)) for each in statements)
    )


def idle(made: Iterable[AwsCall], allowed: Iterable[Statement]) -> list[tuple[str, str]]:
    """The allowed actions on resources that no call uses."""
    calls_made = list(made)
    return sorted(
        (action, resource)
        for statement in allowed
        for action in statement.actions
        for resource in statement.resources
        if action not in NEVER_CALLED
        and not any(
            call.action == action
            and statement.allows(action, call.resource, dict(call.context))
            and Statement(None, frozenset({action}), frozenset({resource}), {}).allows(
                action, call.resource, {}
            )
            for call in calls_made
        )
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("construct", FUNCTIONS)
async def test_a_function_is_allowed_what_it_asks_for_and_nothing_else(
    templates: Mapping[str, Template],
    dynamodb_local_url: str,
    moto_url: str,
    monkeypatch: pytest.MonkeyPatch,
    variant: str,
    construct: str,
) -> None:
    """Exercising all its features, each request is allowed, and each permission is used."""
    template = templates[variant]
    async with deployed(template, construct, dynamodb_local_url, moto_url, monkeypatch) as function:
        await DRIVES[construct](function)
    statements = template.statements(construct)
    assert refused(function.calls, statements) == []
    assert idle(function.calls, statements) == []
    # The scenario has exercised every operation in the code.
    assert function.operations == operations_of_the_store()


def test_a_missing_or_unused_permission_would_be_detected(templates: Mapping[str, Template]) -> None:
    """An index, another table, a scan, a model without its profile, and a policy without any call."""
    statements = templates["Imported"].statements("StreamCoachConversation")
    table = "arn:aws:dynamodb:us-west-2:123456789012:table/Proto-AllItems-V2"
    model = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-6"
    wrong = [
        AwsCall("bedrock:InvokeModelWithResponseStream", model),
        AwsCall("dynamodb:GetItem", f"{table}-other"),
        AwsCall("dynamodb:Query", f"{table}/index/gsi1"),
        AwsCall("dynamodb:Scan", table),
    ]
    assert refused([*wrong, AwsCall("dynamodb:Query", table)], statements) == wrong
    everything = {
        (action, resource)
        for each in statements
        for action in each.actions - set(NEVER_CALLED)
        for resource in each.resources
    }
    assert set(idle([], statements)) == everything
    assert ("dynamodb:Query", table) not in idle([AwsCall("dynamodb:Query", table)], statements)
