"""A streaming endpoint of FastAPI on boto3, behind the Lambda Web Adapter, for `whole_turn.py`.

What one writes without a project for it: the message is put, the history queried, the model's stream relayed,
and the reply put. No token is verified, and a reply that is cut off is lost.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import boto3
from boto3.dynamodb.conditions import Key
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

HISTORY = 20

app = FastAPI()
bedrock: Any = boto3.client("bedrock-runtime")
table: Any = boto3.resource("dynamodb").Table(os.environ["DYNAMODB_TABLE_NAME"])


class Message(BaseModel):
    """The request's body."""

    userResponse: str  # noqa: N815 (as in the request)


def _frame(**data: object) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _put(conversation_id: str, role: str, content: str) -> None:
    key = {"pk": f"conversation#{conversation_id}", "sk": f"message#{time.time_ns()}"}
    table.put_item(Item={**key, "role": role, "content": content})


def _history(conversation_id: str) -> list[dict[str, Any]]:
    found = table.query(
        KeyConditionExpression=Key("pk").eq(f"conversation#{conversation_id}")
        & Key("sk").begins_with("message#"),
        ScanIndexForward=False,
        Limit=HISTORY,
    )
    return [{"role": item["role"], "content": [{"text": item["content"]}]} for item in found["Items"][::-1]]


def _turn(coach_id: str, conversation_id: str, text: str) -> Iterator[str]:
    yield _frame(type="start")
    _put(conversation_id, "user", text)
    reply = bedrock.converse_stream(
        modelId=os.environ["BEDROCK_MODEL_ID"],
        system=[{"text": f"You are the coach {coach_id}."}],
        messages=_history(conversation_id),
    )
    content = ""
    for part in reply["stream"]:
        if (delta := part.get("contentBlockDelta", {}).get("delta", {}).get("text")) is not None:
            content += delta
            yield _frame(type="chunk", content=delta)
    _put(conversation_id, "assistant", content)
    yield _frame(type="complete", content=content)


@app.get("/")
def ready() -> str:
    """For the adapter's readiness check."""
    return "ready"


@app.post("/users/{user_id}/coaches/{coach_id}/conversations/{conversation_id}/stream")
def stream(user_id: str, coach_id: str, conversation_id: str, message: Message) -> StreamingResponse:
    """Stream the reply; Starlette iterates over it in a thread."""
    del user_id
    return StreamingResponse(
        _turn(coach_id, conversation_id, message.userResponse), media_type="text/event-stream"
    )
