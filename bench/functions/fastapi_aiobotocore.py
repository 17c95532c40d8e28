"""A streaming endpoint of FastAPI on aiobotocore, behind the Lambda Web Adapter, for `whole_turn.py`.

The same as `fastapi_boto3.py`, in coroutines. Not aioboto3, which pip resolves to an outdated boto3.
"""

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiobotocore.session import get_session
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

HISTORY = 20
TABLE = os.environ["DYNAMODB_TABLE_NAME"]


@asynccontextmanager
async def _clients(application: FastAPI) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        session = get_session()
        for name in ("dynamodb", "bedrock-runtime"):
            client = await stack.enter_async_context(session.create_client(name))
            setattr(application.state, name.replace("-", "_"), client)
        yield


app = FastAPI(lifespan=_clients)


class Message(BaseModel):
    """The request's body."""

    userResponse: str  # noqa: N815 (as in the request)


def _frame(**data: object) -> str:
    return f"data: {json.dumps(data)}\n\n"


async def _put(conversation_id: str, role: str, content: str) -> None:
    item = {
        "pk": f"conversation#{conversation_id}",
        "sk": f"message#{time.time_ns()}",
        "role": role,
        "content": content,
    }
    await app.state.dynamodb.put_item(
        TableName=TABLE, Item={name: {"S": value} for name, value in item.items()}
    )


async def _history(conversation_id: str) -> list[dict[str, Any]]:
    found = await app.state.dynamodb.query(
        TableName=TABLE,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
        ExpressionAttributeValues={
            ":pk": {"S": f"conversation#{conversation_id}"},
            ":prefix": {"S": "message#"},
        },
        ScanIndexForward=False,
        Limit=HISTORY,
    )
    return [
        {"role": item["role"]["S"], "content": [{"text": item["content"]["S"]}]}
        for item in found["Items"][::-1]
    ]


async def _turn(coach_id: str, conversation_id: str, text: str) -> AsyncIterator[str]:
    yield _frame(type="start")
    await _put(conversation_id, "user", text)
    reply = await app.state.bedrock_runtime.converse_stream(
        modelId=os.environ["BEDROCK_MODEL_ID"],
        system=[{"text": f"You are the coach {coach_id}."}],
        messages=await _history(conversation_id),
    )
    content = ""
    async for part in reply["stream"]:
        if (delta := part.get("contentBlockDelta", {}).get("delta", {}).get("text")) is not None:
            content += delta
            yield _frame(type="chunk", content=delta)
    await _put(conversation_id, "assistant", content)
    yield _frame(type="complete", content=content)


@app.get("/")
async def ready() -> str:
    """For the adapter's readiness check."""
    return "ready"


@app.post("/users/{user_id}/coaches/{coach_id}/conversations/{conversation_id}/stream")
async def stream(user_id: str, coach_id: str, conversation_id: str, message: Message) -> StreamingResponse:
    """Stream the reply."""
    del user_id
    return StreamingResponse(
        _turn(coach_id, conversation_id, message.userResponse), media_type="text/event-stream"
    )
