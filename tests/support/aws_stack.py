"""Every AWS and Pinecone service that a turn uses, on this machine, each behind a faulty proxy.

DynamoDB is DynamoDB Local, Cognito is moto's; Bedrock, Pinecone and Lambda are test servers that speak the
real wire formats.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from coachstream.conversation.model import ConversationKey
from contracts.conversation_store import COACH, conversation
from support.bedrock_server import BedrockServer, bedrock_server
from support.cognito import REGION, UserPool
from support.dynamodb import Table, a_table
from support.faulty_proxy import AWS_THROTTLED, HTTP_THROTTLED, FaultyProxy, proxied
from support.http_server import serving
from support.patience import PATIENT
from support.pinecone_server import API_KEY, PineconeServer, pinecone_server

KEY = ConversationKey("user-1", "coach-1", "conv-1")
WORKOUT_FUNCTION = "build-workout"


class Invocations:
    """Lambda's Invoke API (API reference, "Invoke"), for asynchronous invocations only."""

    def __init__(self) -> None:
        self.payloads: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 (ASGI)
        """Queue an invocation."""
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
        assert dict(scope["headers"])[b"x-amz-invocation-type"] == b"Event"
        self.payloads.append((scope["path"].split("/")[3], json.loads(body)))
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@dataclass
class AwsStack:
    """The services, their proxies, a user with a token, a coach and a conversation."""

    table: Table
    bedrock: BedrockServer
    pinecone: PineconeServer
    functions: Invocations
    pool: UserPool
    token: str
    proxies: Mapping[str, FaultyProxy]

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that point the service at this stack."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "us-west-2",
            "AWS_ENDPOINT_URL_DYNAMODB": self.proxies["storage"].url,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.proxies["model"].url,
            "AWS_ENDPOINT_URL_LAMBDA": self.proxies["hand-off"].url,
            "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": self.proxies["identity"].url,
            "COACHSTREAM_STORE": "dynamodb",
            "DYNAMODB_TABLE_NAME": self.table.name,
            "COACHSTREAM_MODEL": "bedrock",
            "COACHSTREAM_MODEL_STALL_S": PATIENT["COACHSTREAM_MODEL_STALL_S"],
            "COACHSTREAM_IDENTITY": "cognito",
            "USER_POOL_ID": self.pool.id,
            "APP_CLIENT_ID": self.pool.client_id,
            "COACHSTREAM_RECALL": "pinecone",
            "PINECONE_API_KEY": API_KEY,
            "PINECONE_INDEX_HOST": self.proxies["recall"].url,
            "BUILD_WORKOUT_FUNCTION_NAME": WORKOUT_FUNCTION,
        }


@asynccontextmanager
async def aws_stack(dynamodb_local_url: str, moto_url: str) -> AsyncIterator[AwsStack]:
    """Start the servers, and create a user, a coach, a conversation and two passages in them."""
    async with AsyncExitStack() as stack:
        table = await stack.enter_async_context(a_table(dynamodb_local_url))
        bedrock = await stack.enter_async_context(bedrock_server())
        pinecone = await stack.enter_async_context(pinecone_server())
        functions = Invocations()
        functions_port = await stack.enter_async_context(serving(functions))
        pool = UserPool(moto_url)
        stack.callback(pool.close)
        pool.add_user("sam", KEY.user_id)
        store = table.store()
        await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
        await store.create_conversation(conversation(KEY))
        pinecone.records["methodology"] = {
            "rest": {"_id": "rest", "text": "Rest is a part of training.", "title": "Rest"}
        }
        pinecone.records[f"user_{KEY.user_id}"] = {
            "squat": {"_id": "squat", "text": "Squats, five by five.", "record_type": "workout_summary"}
        }
        targets = {
            "storage": (_port(dynamodb_local_url), AWS_THROTTLED),
            "model": (_port(bedrock.url), AWS_THROTTLED),
            "recall": (_port(pinecone.url), HTTP_THROTTLED),
            "identity": (_port(moto_url), HTTP_THROTTLED),
            "hand-off": (functions_port, AWS_THROTTLED),
        }
        proxies = {
            name: await stack.enter_async_context(proxied(port, throttled=throttled))
            for name, (port, throttled) in targets.items()
        }
        yield AwsStack(table, bedrock, pinecone, functions, pool, pool.sign_in("sam").id, proxies)


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


assert REGION != "us-west-2", "the pool's region is its own"
