"""Direct invocations of the send function by other functions of the account (existing system, section 3.1).

The payload is `{"pathParameters": {"userId", "coachId", "conversationId"}, "body": JSON text}`. AWS sets
`requestContext` on every event that comes over HTTP, from a Function URL, API Gateway or a load balancer, and
no part of an HTTP request can remove it. So a payload of exactly these two fields was passed to Lambda's
Invoke API, which requires AWS credentials with `lambda:InvokeFunction`: its sender is trusted with the user's
id, and has no token. The Function URL's own permission is for calls through the URL only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from coachstream.conversation.errors import InvalidJson, MissingPathParams
from coachstream.web.routes import Resource, Route, match_path
from lambda_streaming import LambdaContext
from lambda_streaming.function_url.event import FunctionUrlEvent

_FIELDS = frozenset({"pathParameters", "body"})


def is_internal(payload: object) -> bool:
    """Whether another function invoked this one directly; never true of an HTTP request."""
    return isinstance(payload, Mapping) and "pathParameters" in payload and payload.keys() <= _FIELDS


def read_internal(payload: object, context: LambdaContext) -> tuple[FunctionUrlEvent, Route]:
    """Read the payload as the request that it stands for.

    Raises:
        MissingPathParams: an id is missing or invalid.
        InvalidJson: the body is no text.
    """
    if not isinstance(payload, Mapping):
        raise MissingPathParams
    ids = payload.get("pathParameters")
    ids = ids if isinstance(ids, Mapping) else {}
    user, coach, conversation = (ids.get(name) for name in ("userId", "coachId", "conversationId"))
    if not (isinstance(user, str) and isinstance(coach, str) and isinstance(conversation, str)):
        raise MissingPathParams
    segments = ("users", user, "coaches", coach, "conversations", conversation, Resource.SEND_MESSAGE.value)
    if not all(segments):
        raise MissingPathParams
    body = payload.get("body")
    if not isinstance(body, str | None):
        raise InvalidJson
    event = FunctionUrlEvent(
        method="POST",
        segments=segments,
        body=None if body is None else body.encode(errors="surrogatepass"),
        deadline=time.monotonic() + context.get_remaining_time_in_millis() / 1000,
    )
    return event, match_path(segments)
