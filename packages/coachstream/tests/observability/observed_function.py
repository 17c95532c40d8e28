"""Functions whose execution environments the tests observe from outside."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import httpx

from coachstream.conversation.errors import ErrorCode
from coachstream.conversation.model import ConversationKey
from coachstream.observability.logs import set_up_logging
from coachstream.observability.observed import observed
from coachstream.settings import LogFormat, LogLevel, Logs
from lambda_streaming import ResponseStream, streamify_response
from support.turn_report import a_report

LOGS = Logs(level=LogLevel.DEBUG, format=LogFormat(os.environ.get("TEST_LOG_FORMAT", "json")))
logger = logging.getLogger("coachstream.turn")


@streamify_response
async def turn(event: Mapping[str, Any], response_stream: ResponseStream, context: Any) -> None:  # noqa: ANN401
    """Report a turn, after writing whether Powertools was loaded when the first bytes went out."""
    set_up_logging(LOGS)
    async with observed(context, event) as invocation:
        invocation.logs = LOGS
        was_there = "aws_lambda_powertools" in sys.modules
        await response_stream.write(f"powertools: {was_there}\n")
        invocation.started()
        invocation.key = ConversationKey("user-1", "coach-1", event.get("conversation", "conv-1"))
        logger.info("In the middle")
        invocation.turn_ended(a_report(invocation.key))


@streamify_response
async def indiscreet(event: Mapping[str, Any], response_stream: ResponseStream, context: Any) -> None:  # noqa: ANN401
    """Send secrets to `url`, fail with them in the error, and log with every library at DEBUG."""
    set_up_logging(LOGS)
    async with observed(context, event) as invocation:
        invocation.logs = LOGS
        await call_with_secrets(event["url"], event["secret"])
        log_exceptions(event["secret"])
        invocation.error = ErrorCode.INVALID_TOKEN
        await response_stream.write("done")


async def call_with_secrets(url: str, secret: str) -> None:
    """Make a request with httpx and one with botocore, with the secret in header, body and credentials."""
    import aiobotocore.session
    from botocore.exceptions import ClientError

    async with httpx.AsyncClient(trust_env=False) as client:
        await client.post(url, headers={"authorization": f"Bearer {secret}"}, content=secret)
    session = aiobotocore.session.get_session()
    async with session.create_client(
        "dynamodb",
        endpoint_url=url,
        region_name="us-west-2",
        aws_access_key_id=secret,
        aws_secret_access_key=secret,
        aws_session_token=secret,
    ) as dynamodb:
        try:
            await dynamodb.put_item(TableName="t", Item={"pk": {"S": secret}})
        except ClientError:
            logger.exception("The table refused")


def log_exceptions(secret: str) -> None:
    """Log exceptions as our loggers, the runtime's and a library's would."""
    try:
        raise ValueError(secret)  # noqa: TRY301 (what is logged is the point)
    except ValueError as error:
        logger.exception("It failed")
        logging.getLogger("lambda_streaming.function_url").exception("r-1 %s", error)  # noqa: TRY401
        logging.getLogger("asyncio").exception("Task <exception=%r>", error)  # noqa: TRY401
        logging.getLogger("some.library").debug("The body is %s", secret)
