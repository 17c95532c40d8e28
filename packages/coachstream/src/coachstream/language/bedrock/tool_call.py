"""One Converse call of a small model, which must reply by filling in a tool's input.

What the model reads is data between tags, as in prompts (`quoting`), so that it cannot pose as an
instruction. There is one attempt: the callers have no use for a late reply, or are repeated themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from coachstream.conversation.errors import ModelStreamBroken
from coachstream.conversation.text import encodable
from coachstream.language.bedrock.client import OpenClient
from coachstream.language.bedrock.errors import failure_of
from coachstream.language.bedrock.model_families import family_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_aiobotocore_bedrock_runtime.type_defs import (
        ConverseRequestTypeDef,
        ConverseResponseTypeDef,
    )
_WITHOUT_BRACKETS = str.maketrans(
    {
        "<": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
        ">": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
    }
)
_WITH_BRACKETS = {ord(changed): chr(original) for original, changed in _WITHOUT_BRACKETS.items()}


class Tool(msgspec.Struct, frozen=True):
    """What the model must fill in, and its instructions.

    Attributes:
        name: the tool's name.
        description: of the tool, a sentence.
        schema: the JSON Schema of its input.
        instructions: the system prompt.
        max_tokens: several times a usual reply; one that is cut off is no reply.
    """

    name: str
    description: str
    schema: dict[str, Any]
    instructions: str
    max_tokens: int


class _ToolUse(msgspec.Struct):
    name: str
    input: object


class _Block(msgspec.Struct, rename="camel"):
    tool_use: _ToolUse | None = None


class _Message(msgspec.Struct):
    content: list[_Block] = []


class _Output(msgspec.Struct):
    message: _Message


class _Response(msgspec.Struct):
    output: _Output


def tagged(tag: str, text: str) -> str:
    """The text between tags, without the angle brackets that could close them."""
    return f"<{tag}>\n{encodable(text).translate(_WITHOUT_BRACKETS)}\n</{tag}>"


def with_brackets(text: str) -> str:
    """What the model copied from a `tagged` text, as it was written."""
    return text.translate(_WITH_BRACKETS)


async def converse(client: OpenClient, request: ConverseRequestTypeDef) -> ConverseResponseTypeDef:
    """Send a request.

    Raises:
        ModelThrottled, ModelUnavailable, ModelRejected, ModelNotUsable: as named.
        NoCredentials: the service does not accept the credentials.
    """
    try:
        response = await (await client()).converse(**request)
    except Exception as error:
        raise failure_of(error, request["modelId"]) from error
    return cast("ConverseResponseTypeDef", response)


def tool_request(tool: Tool, text: str, model_id: str) -> ConverseRequestTypeDef:
    """The request that has the model read a text."""
    request: ConverseRequestTypeDef = {
        "modelId": model_id,
        "system": [{"text": tool.instructions}],
        "messages": [{"role": "user", "content": [{"text": text}]}],
        "inferenceConfig": {"maxTokens": tool.max_tokens},
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": tool.name,
                        "description": tool.description,
                        "inputSchema": {"json": tool.schema},
                    }
                }
            ],
            "toolChoice": {"tool": {"name": tool.name}},
        },
    }
    if family_of(model_id).takes_temperature:
        request["inferenceConfig"]["temperature"] = 0.0
    return request


def tool_input_in(response: ConverseResponseTypeDef | Mapping[str, Any], tool: Tool) -> object:
    """The input of the tool in a response.

    Raises:
        ModelStreamBroken: there is none.
    """
    try:
        found = msgspec.convert(response, _Response)
    except msgspec.ValidationError:
        # Its text may quote the user.
        raise ModelStreamBroken("the response does not fit its description") from None
    for block in found.output.message.content:
        if block.tool_use is not None and block.tool_use.name == tool.name:
            return block.tool_use.input
    raise ModelStreamBroken(f"the model did not use the tool {tool.name}")
