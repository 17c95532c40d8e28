"""Hand-offs over HTTP: the existing system's payloads as asynchronous invocations."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest
from types_aiobotocore_lambda.client import LambdaClient

from coachstream.aws.clients import AwsClient, AwsSession, Connection
from coachstream.conversation.errors import ErrorCode, HandOffFailed
from coachstream.conversation.model import ConversationKey
from coachstream.conversation.ports import SummaryReason, SummaryRequest, TitleRequest, WorkoutLog
from coachstream.conversation.prompt.coach import parse_coach_config
from coachstream.hand_off.lambda_functions import LambdaSummaryBuilder, LambdaWorkoutBuilder
from coachstream.hand_off.post_turn import LambdaPostTurn, request_in
from support.http_server import serving
from support.patience import PATIENCE_S

KEY = ConversationKey("sam", "mara", "conv_1")
WORKOUT = WorkoutLog(
    key=KEY,
    message_id="msg_1",
    text="5x5 squats",
    coach=parse_coach_config("mara", {"coach_name": "Mara", "odd": [1, None, {"x": 2.5}]}),
    command="log-workout",
    sent_at=datetime(2026, 11, 23, 10, 0, 0, 7_000, tzinfo=UTC),
    time_zone="America/Los_Angeles",
)
SUMMARY = SummaryRequest(KEY, SummaryReason.MESSAGE_COUNT, 12)


class LambdaApi:
    """Accepts invocations like Lambda's API (API reference, "Invoke"), and responds as a test sets it."""

    def __init__(self) -> None:
        self.invocations: list[tuple[str, str, object]] = []
        self.status = 202
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
        if scope["type"] != "http":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message.get("more_body"):
                break
        kind = dict(scope["headers"])[b"x-amz-invocation-type"].decode()
        self.invocations.append((scope["path"], kind, json.loads(body)))
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


@pytest.fixture
def api() -> LambdaApi:
    return LambdaApi()


@pytest.fixture
async def client(api: LambdaApi, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AwsClient[LambdaClient]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    async with serving(api) as port:
        client = AwsSession().functions(
            Connection(region="us-west-2", endpoint_url=f"http://127.0.0.1:{port}", read_timeout_s=PATIENCE_S)
        )
        yield client
        await client.aclose()


async def test_a_workout_is_invoked_with_the_existing_payload(
    api: LambdaApi, client: AwsClient[LambdaClient]
) -> None:
    """It is asynchronous, with all the coach's attributes and the time in JavaScript's format."""
    await LambdaWorkoutBuilder(client, "build-workout").build(WORKOUT)
    assert api.invocations == [
        (
            "/2015-03-31/functions/build-workout/invocations",
            "Event",
            {
                "userId": "sam",
                "coachId": "mara",
                "conversationId": "conv_1",
                "userMessage": "5x5 squats",
                "coachConfig": {"coach_name": "Mara", "odd": [1, None, {"x": 2.5}]},
                "isSlashCommand": True,
                "slashCommand": "log-workout",
                "messageTimestamp": "2026-11-23T10:00:00.007Z",
                "userTimezone": "America/Los_Angeles",
            },
        )
    ]


async def test_a_summary_is_invoked_with_the_existing_payload(
    api: LambdaApi, client: AwsClient[LambdaClient]
) -> None:
    """The invocation is asynchronous, with the reason and the count."""
    await LambdaSummaryBuilder(client, "build-summary").build(SUMMARY)
    [(_, kind, payload)] = api.invocations
    assert kind == "Event"
    assert payload == {
        "userId": "sam",
        "coachId": "mara",
        "conversationId": "conv_1",
        "triggerReason": "message_count",
        "messageCount": 12,
    }


async def test_our_own_function_is_invoked_with_an_event_that_it_reads(
    api: LambdaApi, client: AwsClient[LambdaClient]
) -> None:
    """Summaries and titles go to the same function, each in an invocation of its own."""
    requests = (SUMMARY, TitleRequest(KEY))
    for request in requests:
        await LambdaPostTurn(client, "process-post-turn").build(request)
    assert {(path, kind) for path, kind, _ in api.invocations} == {
        ("/2015-03-31/functions/process-post-turn/invocations", "Event")
    }
    assert tuple(request_in(event) for _, _, event in api.invocations) == requests


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, "ResourceNotFoundException"), (429, "TooManyRequestsException"), (500, "ServiceException")],
)
async def test_a_refused_invocation_is_a_typed_failure(
    api: LambdaApi, client: AwsClient[LambdaClient], status: int, code: str
) -> None:
    """The log has the function's name and Lambda's code; there is no retry, as the turn has no time."""
    api.status = status
    api.headers = [(b"x-amzn-errortype", code.encode()), (b"content-type", b"application/json")]
    api.body = b'{"Message": "no"}'
    with pytest.raises(HandOffFailed, match=f"build-workout rejected the invocation: {code}"):
        await LambdaWorkoutBuilder(client, "build-workout").build(WORKOUT)
    assert len(api.invocations) == 1


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException"])
async def test_credentials_that_lambda_refuses_have_a_code_and_a_remedy(
    api: LambdaApi, client: AwsClient[LambdaClient], code: str
) -> None:
    """The hand-off fails like any other; its log line helps the operator."""
    api.status = 403
    api.headers = [(b"x-amzn-errortype", code.encode()), (b"content-type", b"application/json")]
    api.body = b'{"Message": "no"}'
    with pytest.raises(HandOffFailed, match=f"{code}: the AWS credentials") as caught:
        await LambdaWorkoutBuilder(client, "build-workout").build(WORKOUT)
    assert caught.value.code is ErrorCode.NO_CREDENTIALS
    assert "AWS_PROFILE" in caught.value.remedy or "aws sso login" in caught.value.remedy


async def test_a_status_other_than_202_is_a_typed_failure(
    api: LambdaApi, client: AwsClient[LambdaClient]
) -> None:
    """Lambda accepts an asynchronous invocation with 202 only."""
    api.status = 200
    with pytest.raises(HandOffFailed, match="status 200"):
        await LambdaSummaryBuilder(client, "build-summary").build(SUMMARY)


async def test_an_api_that_cannot_be_reached_is_a_typed_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server listens on the port."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    client = AwsSession().functions(Connection(region="us-west-2", endpoint_url="http://127.0.0.1:1"))
    with pytest.raises(HandOffFailed, match="could not be invoked: EndpointConnectionError"):
        await LambdaSummaryBuilder(client, "build-summary").build(SUMMARY)
    await client.aclose()


async def test_a_workout_in_plain_words_is_no_command(
    api: LambdaApi, client: AwsClient[LambdaClient]
) -> None:
    """The field for the command is absent, as in the existing system."""
    await LambdaWorkoutBuilder(client, "build-workout").build(msgspec.structs.replace(WORKOUT, command=None))
    [(_, _, payload)] = api.invocations
    assert isinstance(payload, dict)
    assert payload["isSlashCommand"] is False
    assert "slashCommand" not in payload


async def test_a_summary_for_complexity_says_so(api: LambdaApi, client: AwsClient[LambdaClient]) -> None:
    """With the existing system's only indicator, which is absent otherwise."""
    summary = SummaryRequest(KEY, SummaryReason.COMPLEXITY, 4)
    await LambdaSummaryBuilder(client, "build-summary").build(summary)
    [(_, _, payload)] = api.invocations
    assert payload == {
        "userId": "sam",
        "coachId": "mara",
        "conversationId": "conv_1",
        "triggerReason": "complexity",
        "messageCount": 4,
        "complexityIndicators": ["complexity_detected"],
    }
