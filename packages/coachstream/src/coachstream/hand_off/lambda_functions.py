"""Hand-offs to the existing functions, as asynchronous invocations (existing system, section 8).

Lambda queues an `Event` invocation and responds with 202 in some 50 ms, whatever the function then does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from coachstream.aws.credential_faults import credential_fault
from coachstream.conversation.errors import HandOffFailed, NoCredentials
from coachstream.conversation.model import format_timestamp
from coachstream.conversation.ports import COMPLEXITY_INDICATORS, SummaryReason, SummaryRequest, WorkoutLog

if TYPE_CHECKING:
    from types_aiobotocore_lambda.client import LambdaClient

OpenClient = Callable[[], Awaitable["LambdaClient"]]


class _WorkoutPayload(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    user_id: str
    coach_id: str
    conversation_id: str
    user_message: str
    coach_config: object
    is_slash_command: bool
    slash_command: str | None = None
    message_timestamp: str
    user_timezone: str


class _SummaryPayload(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    user_id: str
    coach_id: str
    conversation_id: str
    trigger_reason: str
    message_count: int
    complexity_indicators: tuple[str, ...] = ()


class LambdaWorkoutBuilder:
    """`WorkoutBuilder` for the function `build-workout`; `function` is its name or ARN."""

    def __init__(self, client: OpenClient, function: str) -> None:
        self._client = client
        self._function = function

    async def build(self, workout: WorkoutLog) -> None:
        """Invoke the function (see `WorkoutBuilder`)."""
        payload = _WorkoutPayload(
            user_id=workout.key.user_id,
            coach_id=workout.key.coach_id,
            conversation_id=workout.key.conversation_id,
            user_message=workout.text,
            coach_config=workout.coach.stored,
            is_slash_command=workout.command is not None,
            slash_command=workout.command,
            message_timestamp=format_timestamp(workout.sent_at),
            user_timezone=workout.time_zone,
        )
        await invoke(self._client, self._function, payload)


class LambdaSummaryBuilder:
    """`SummaryBuilder` for the function `build-conversation-summary`; `function` is its name or ARN."""

    def __init__(self, client: OpenClient, function: str) -> None:
        self._client = client
        self._function = function

    async def build(self, request: SummaryRequest) -> None:
        """Invoke the function (see `SummaryBuilder`)."""
        payload = _SummaryPayload(
            user_id=request.key.user_id,
            coach_id=request.key.coach_id,
            conversation_id=request.key.conversation_id,
            trigger_reason=request.reason,
            message_count=request.message_count,
            complexity_indicators=(
                COMPLEXITY_INDICATORS if request.reason is SummaryReason.COMPLEXITY else ()
            ),
        )
        await invoke(self._client, self._function, payload)


class HandOffCredentials(NoCredentials, HandOffFailed):
    """The credentials for Lambda are missing, expired or rejected."""


async def invoke(open_client: OpenClient, function: str, payload: msgspec.Struct) -> None:
    """Start a function with an event. Raises `HandOffFailed`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = await open_client()
        response = await client.invoke(
            FunctionName=function, InvocationType="Event", Payload=msgspec.json.encode(payload)
        )
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "no code")
        raise _failure(f"{function} rejected the invocation: {code}", error) from error
    except Exception as error:
        if credential_fault(error) is None and not isinstance(error, BotoCoreError | TimeoutError | OSError):
            raise
        raise _failure(f"{function} could not be invoked: {type(error).__qualname__}", error) from error
    if response["StatusCode"] != HTTPStatus.ACCEPTED:
        raise HandOffFailed(f"{function} responded with status {response['StatusCode']}")


def _failure(detail: str, error: Exception) -> HandOffFailed:
    fault = credential_fault(error)
    if fault is None:
        return HandOffFailed(detail)
    return HandOffCredentials(f"{detail}: {fault}", remedy=fault.remedy)
