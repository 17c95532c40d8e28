"""The open response of a ConverseStream call: its events as they arrive, each within a time limit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from coachstream.conversation.errors import DeadlineExceeded, ModelError, ModelUnavailable
from coachstream.language.bedrock.client import Body, ModelRequests, Response
from coachstream.language.bedrock.errors import failure_of
from coachstream.language.bedrock.event_stream import EventStreamDecoder, Message
from coachstream.language.bedrock.events import ReplyReader

if TYPE_CHECKING:
    from types_aiobotocore_bedrock_runtime.client import BedrockRuntimeClient
    from types_aiobotocore_bedrock_runtime.type_defs import (
        ConverseStreamOutputTypeDef,
        ConverseStreamRequestTypeDef,
        ConverseStreamResponseTypeDef,
    )

    from coachstream.language.bedrock.attempts import Attempts

OPERATION = "ConverseStream"
OUT_OF_TIME = "the time for the model ran out"

_BODY = "coachstream.body"
"""The key of the undecoded response among the parsed ones."""

_decode = msgspec.json.Decoder().decode


class EventSource(Protocol):
    """Gives the events of a response to a `ReplyReader`."""

    async def read(self) -> str | None:
        """Wait for events, and return the text of all that have arrived; `None` at the response's end."""
        ...

    async def aclose(self) -> None:
        """Leave nothing behind, after the response was closed."""
        ...


class ReplyStream:
    """The events of one response, read under the stream's own limit and the deadline of its attempts.

    One timer watches all reads: a timer for each would cost more than decoding an event.
    """

    def __init__(
        self,
        response: Response,
        source: EventSource,
        attempts: Attempts,
        *,
        stall_s: float,
        model_id: str,
    ) -> None:
        self._response = response
        self._source = source
        self._attempts = attempts
        self._stall_s = stall_s
        self._model_id = model_id
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due_at: float | None = None
        self._is_late = False

    async def read(self) -> str | None:
        """Wait for events, and return the text of all that have arrived; `None` at the response's end.

        Raises:
            ModelError: the stream broke, or was silent for too long.
            DeadlineExceeded: the deadline has passed.
        """
        left_s = self._attempts.seconds_left()
        if left_s == 0:
            raise DeadlineExceeded(OUT_OF_TIME)
        self._watch(min(left_s, self._stall_s))
        try:
            return await self._source.read()
        except Exception as error:
            raise self._failure(error, left_s) from error
        finally:
            self._due_at = None

    async def aclose(self) -> None:
        """Close the connection, unless the response was read to its end and the connection can be reused."""
        if self._timer is not None:
            self._timer.cancel()
        self._response.close()
        await self._source.aclose()

    def _failure(self, error: Exception, left_s: float) -> ModelError | DeadlineExceeded:
        if not self._is_late:
            return failure_of(error, self._model_id)
        if left_s <= self._stall_s:
            return DeadlineExceeded(OUT_OF_TIME)
        return ModelUnavailable(f"no event for {self._stall_s:g} s")

    def _watch(self, limit_s: float) -> None:
        self._due_at = self._loop.time() + limit_s
        if self._timer is None:
            self._timer = self._loop.call_at(self._due_at, self._close_if_late)

    def _close_if_late(self) -> None:
        """A timer never fires after the read under way is due: reads become due in their order."""
        self._timer = None
        if self._due_at is None:
            return
        if self._loop.time() < self._due_at:
            self._timer = self._loop.call_at(self._due_at, self._close_if_late)
            return
        self._is_late = True
        self._response.close()


async def open_stream(
    client: BedrockRuntimeClient | ModelRequests,
    request: ConverseStreamRequestTypeDef,
    reply: ReplyReader,
    *,
    decoded_by_sdk: bool,
) -> tuple[Response, EventSource]:
    """Send the request; return the response whose headers have arrived, and its events, read by `reply`.

    Args:
        client: the SDK's, if `decoded_by_sdk`.
        request: the parameters.
        reply: reads the events.
        decoded_by_sdk: whether botocore decodes them.

    Raises:
        botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError: as of any call.
    """
    if isinstance(client, ModelRequests):
        undecoded = await client.open_converse_stream(**request)
        return undecoded, DecodedEvents(undecoded, reply)
    # The SDK's own hook: what it does not parse can be added to what it returns.
    client.meta.events.register(f"before-parse.bedrock-runtime.{OPERATION}", _keep_body, unique_id=_BODY)
    response = await client.converse_stream(**request)
    body = cast("dict[str, Any]", response)[_BODY]
    source = SdkEvents(response, reply) if decoded_by_sdk else DecodedEvents(body.content, reply)
    return body, source


def _keep_body(
    *, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
) -> None:
    customized_response_dict[_BODY] = response_dict["body"]


class DecodedEvents:
    """The events, decoded by `EventStreamDecoder`."""

    def __init__(self, content: Body, reply: ReplyReader) -> None:
        self._content = content
        self._reply = reply
        self._decoder = EventStreamDecoder()
        self._failure: Exception | None = None

    async def read(self) -> str | None:
        """See `EventSource`.

        Raises:
            CorruptEventStream: it is not an event stream.
            botocore.exceptions.EventStreamError: the service reports a failure.
        """
        while self._failure is None:
            data = await self._content.readany()
            texts: list[str] = []
            try:
                for message in self._decoder.feed(data):
                    texts.append(self._reply.read(_event(message)))  # noqa: PERF401 (one may raise)
            except Exception as error:  # noqa: BLE001 (raised by the next read: the events before it count)
                self._failure = error
            if texts:
                return "".join(texts)
            if not data:
                return None
        raise self._failure

    async def aclose(self) -> None:
        """See `EventSource`."""


class SdkEvents:
    """The events, decoded by botocore: slower, and the way back if the other decoder is wrong."""

    def __init__(self, response: ConverseStreamResponseTypeDef, reply: ReplyReader) -> None:
        self._events: AsyncIterator[ConverseStreamOutputTypeDef] = aiter(response["stream"])
        self._reply = reply

    async def read(self) -> str | None:
        """See `EventSource`."""
        event = await anext(self._events, None)
        return None if event is None else self._reply.read(event)

    async def aclose(self) -> None:
        """See `EventSource`; the SDK's generator ends at once when its response is closed."""
        with suppress(Exception):
            async for _ in self._events:
                pass


def _event(message: Message) -> ConverseStreamOutputTypeDef:
    """Return the event as botocore does: its content under its name."""
    headers = message.headers
    if headers.get(":message-type") in ("exception", "error"):
        from botocore.exceptions import EventStreamError

        code, text = _error(message)
        raise EventStreamError({"Error": {"Code": code, "Message": text}}, OPERATION)
    return cast("ConverseStreamOutputTypeDef", {headers.get(":event-type", ""): _content(message.payload)})


def _error(message: Message) -> tuple[str, str]:
    """Return its code and its text."""
    headers = message.headers
    name = headers.get(":exception-type")
    if name is None:
        return headers.get(":error-code", ""), headers.get(":error-message", "")
    try:
        content = _content(message.payload)
    except ValueError:
        content = None
    text = content.get("message") if isinstance(content, dict) else None
    return name, text if isinstance(text, str) else ""


def _content(payload: bytes) -> Any:  # noqa: ANN401
    try:
        return _decode(payload)
    except msgspec.DecodeError:
        # Half of a surrogate pair, for example: the other half is in the next delta.
        return json.loads(payload)
