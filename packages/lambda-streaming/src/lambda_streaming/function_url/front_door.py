"""The service in front of a function: how it turns requests into events, and results into responses."""

from __future__ import annotations

import re
from typing import Protocol

from lambda_streaming.function_url import buffered, policy, refusals
from lambda_streaming.function_url.http_to_event import HttpRequest, invocation_request
from lambda_streaming.function_url.invoker import InvocationRequest
from lambda_streaming.function_url.opening import Opening, announces_prelude
from lambda_streaming.function_url.refusals import Refusals, Refused
from lambda_streaming.function_url.response import ResponseHead

_URL_HOST = re.compile(r"([a-z0-9]+)\.lambda-url\.", re.IGNORECASE)


class FrontDoor(Protocol):
    """One kind of service. A method that refuses raises `Refused` or `MalformedResponse`."""

    @property
    def refusals(self) -> Refusals:
        """The service's own responses."""
        ...

    def admit(self, request: HttpRequest) -> None:
        """Refuse a request that the service does not pass on.

        Raises:
            Refused: it does not.
        """
        ...

    def invocation_request(
        self, request: HttpRequest, body: bytes, *, request_id: str, trace_id: str, buffered: bool
    ) -> InvocationRequest:
        """Return the invocation that a request makes.

        Raises:
            Refused: the event would exceed the service's size limit.
        """
        ...

    def opening(self, content_type: str) -> Opening:
        """Return what reads the head of a streamed response.

        Raises:
            MalformedResponse: the service does not take a streamed response of that type.
        """
        ...

    def whole_response(self, content_type: str, result: bytes) -> tuple[ResponseHead, bytes]:
        """Return the response for a result in one piece.

        Raises:
            MalformedResponse: the service cannot make one of it.
        """
        ...


class FunctionUrl:
    """A Function URL.

    Args:
        url_id: `apiId` in events.
    """

    refusals = refusals.OF_FUNCTION_URL

    def __init__(self, url_id: str) -> None:
        self._url_id = url_id

    def admit(self, request: HttpRequest) -> None:
        """Refuse other URLs' hosts, and methods that Function URLs do not have."""
        addressed = _URL_HOST.match(request.header("host") or "")
        if addressed is not None and addressed[1].lower() != self._url_id.lower():
            raise Refused(refusals.UNKNOWN_URL)
        if request.method not in policy.METHODS:
            raise Refused(refusals.METHOD_REFUSED)

    def invocation_request(
        self, request: HttpRequest, body: bytes, *, request_id: str, trace_id: str, buffered: bool
    ) -> InvocationRequest:
        """Return the invocation, in payload format 2.0."""
        return invocation_request(
            request, body, url_id=self._url_id, request_id=request_id, trace_id=trace_id, buffered=buffered
        )

    def opening(self, content_type: str) -> Opening:
        """Take any streamed response, with a prelude or without."""
        return Opening(content_type)

    def whole_response(self, content_type: str, result: bytes) -> tuple[ResponseHead, bytes]:
        """Take a prelude, a proxy result, or any other value as the body."""
        if announces_prelude(content_type):
            opening = Opening(content_type)
            body = opening.feed(result)
            return opening.head_at_end(), body
        return buffered.interpret(result)
