"""What every `Invoker` must do: a suite for the in-process invoker and the emulator's environments.

A subclass provides `invoker_of`, a fixture that gives a factory of invokers for a function of
`support.functions`:

    class TestMine(InvokerContract):
        @pytest.fixture
        def invoker_of(self) -> InvokerFactory: ...
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import msgspec
import pytest

from lambda_streaming.function_url.invoker import (
    FunctionFailed,
    InvocationRequest,
    InvocationResponse,
    InvocationTimedOut,
    Invoker,
    ResponseBrokenOff,
)
from support.connections import accepting, port_of
from support.patience import PATIENCE_S

#: (name of a function in support.functions, timeout in seconds) -> an invoker that runs it
InvokerFactory: TypeAlias = Callable[[str, float], AbstractAsyncContextManager[Invoker]]

SHORT_S = 1.0


class Gate:
    """A loopback port at which a function waits until the test lets it continue."""

    def __init__(self) -> None:
        self.port = 0
        self._arrived: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def open(self) -> None:
        """Wait for a function to arrive at the gate and let it pass."""
        async with asyncio.timeout(PATIENCE_S):
            writer = await self._arrived.get()
        writer.write(b"go\n")
        await writer.drain()
        writer.close()

    async def someone_waits(self) -> None:
        """Wait for a function to arrive at the gate and keep it waiting."""
        writer = await self._arrived.get()
        await self._arrived.put(writer)

    async def arrive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Accept a function's connection."""
        await reader.readline()
        await self._arrived.put(writer)


@asynccontextmanager
async def gate() -> AsyncIterator[Gate]:
    """Open a gate on a free port."""
    opened = Gate()
    async with accepting(opened.arrive) as server:
        opened.port = port_of(server)
        yield opened


def invocation(**event: object) -> InvocationRequest:
    """Return an invocation with this event."""
    return InvocationRequest(
        payload=msgspec.json.encode(event),
        request_id=str(uuid.uuid4()),
        trace_id="Root=1-67e0a000-0123456789abcdef01234567",
    )


async def body_of(response: InvocationResponse) -> bytes:
    """Read a response to its end."""
    received = b"".join([chunk async for chunk in response.body])
    await response.body.aclose()
    return received


class InvokerContract:
    """The behaviour of an invoker as seen by the app in front of it."""

    async def test_the_event_reaches_the_function_and_its_bytes_come_back(
        self, invoker_of: InvokerFactory
    ) -> None:
        """Event, request id and content type arrive unchanged."""
        async with invoker_of("echo", PATIENCE_S) as invoker:
            request = invocation(text="grüß", nested={"a": [1, None]})
            response = await invoker.invoke(request)
            assert response.content_type == "application/json"
            assert msgspec.json.decode(await body_of(response)) == {
                "event": {"text": "grüß", "nested": {"a": [1, None]}},
                "request_id": request.request_id,
            }

    async def test_a_chunk_arrives_before_the_function_goes_on(self, invoker_of: InvokerFactory) -> None:
        """The first bytes arrive while the function is waiting for the test."""
        async with invoker_of("gated", PATIENCE_S) as invoker, gate() as gate_:
            response = await invoker.invoke(invocation(gate=gate_.port))
            assert response.content_type == "application/octet-stream"
            assert await anext(response.body) == b"one"
            await gate_.open()
            assert await body_of(response) == b"two"

    async def test_a_prelude_is_part_of_the_body(self, invoker_of: InvokerFactory) -> None:
        """The invoker passes raw bytes on; the app parses them."""
        async with invoker_of("with_prelude", PATIENCE_S) as invoker:
            response = await invoker.invoke(invocation())
            assert response.content_type == "application/vnd.awslambda.http-integration-response"
            prelude, delimiter, payload = (await body_of(response)).partition(b"\0" * 8)
            assert msgspec.json.decode(prelude)["statusCode"] == 201
            assert delimiter + payload == b"\0" * 24

    async def test_an_empty_response_is_a_response(self, invoker_of: InvokerFactory) -> None:
        """It begins and ends at once."""
        async with invoker_of("empty", PATIENCE_S) as invoker:
            assert await body_of(await invoker.invoke(invocation())) == b""

    async def test_a_failure_before_the_first_byte_is_raised_by_invoke(
        self, invoker_of: InvokerFactory
    ) -> None:
        """The error has the reported type and message; the next invocation works."""
        async with invoker_of("fails_before", PATIENCE_S) as invoker:
            for _ in range(2):
                with pytest.raises(FunctionFailed) as failed:
                    await invoker.invoke(invocation())
                assert (failed.value.error_type, failed.value.error_message) == ("ValueError", "too early")

    async def test_a_failure_after_the_first_byte_is_raised_by_the_body(
        self, invoker_of: InvokerFactory
    ) -> None:
        """What was written comes first; the end is never clean."""
        async with invoker_of("fails_after", PATIENCE_S) as invoker, gate() as gate_:
            for _ in range(2):
                response = await invoker.invoke(invocation(gate=gate_.port))
                assert await anext(response.body) == b"partial"
                await gate_.open()
                with pytest.raises(ResponseBrokenOff) as broken:
                    await anext(response.body)
                assert (broken.value.error_type, broken.value.error_message) == ("ValueError", "too late")
                await response.body.aclose()

    async def test_a_timeout_before_the_first_byte_is_raised_by_invoke(
        self, invoker_of: InvokerFactory, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The error and the log have Lambda's wording."""
        async with invoker_of("hangs_before", SHORT_S) as invoker:
            with pytest.raises(InvocationTimedOut) as timed_out:
                await invoker.invoke(invocation())
        assert timed_out.value.error_message == "Task timed out after 1.00 seconds"
        assert caplog.text.count("Task timed out after 1.00 seconds") == 1

    async def test_a_timeout_after_the_first_byte_is_raised_by_the_body(
        self, invoker_of: InvokerFactory, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What was written comes first; the end is never clean."""
        async with invoker_of("hangs_after", SHORT_S) as invoker:
            response = await invoker.invoke(invocation())
            assert await anext(response.body) == b"partial"
            with pytest.raises(ResponseBrokenOff) as broken:
                await anext(response.body)
            await response.body.aclose()
        assert broken.value.error_message == "Task timed out after 1.00 seconds"
        assert caplog.text.count("Task timed out after 1.00 seconds") == 1

    async def test_an_abandoned_response_does_not_stop_the_function(self, invoker_of: InvokerFactory) -> None:
        """The function writes its whole response without a reader and finishes; the next invocation works."""
        async with invoker_of("large", PATIENCE_S) as invoker, gate() as gate_:
            response = await invoker.invoke(invocation(gate=gate_.port))
            await anext(response.body)
            await response.body.aclose()
            await gate_.open()
            second = await invoker.invoke(invocation(gate=gate_.port))
            opening = asyncio.create_task(gate_.open())
            assert len(await body_of(second)) == 4 * 1024 * 1024
            await opening

    async def test_a_plain_function_is_one_json_body(self, invoker_of: InvokerFactory) -> None:
        """The body is the result as the stock runtime posts it."""
        async with invoker_of("plain", PATIENCE_S) as invoker:
            response = await invoker.invoke(invocation(body="hey"))
            assert response.content_type == "application/json"
            assert msgspec.json.decode(await body_of(response)) == {"statusCode": 201, "body": "hey"}

    async def test_a_plain_functions_failure_is_raised_by_invoke(self, invoker_of: InvokerFactory) -> None:
        """The error has the type that the stock runtime reports."""
        async with invoker_of("plain_fails", PATIENCE_S) as invoker:
            with pytest.raises(FunctionFailed) as failed:
                await invoker.invoke(invocation())
            assert failed.value.error_type == "KeyError"

    async def test_a_result_that_is_no_json_is_a_failure(self, invoker_of: InvokerFactory) -> None:
        """The error has the type that the stock runtime reports."""
        async with invoker_of("plain_unserialisable", PATIENCE_S) as invoker:
            with pytest.raises(FunctionFailed) as failed:
                await invoker.invoke(invocation())
            assert failed.value.error_type == "Runtime.MarshalError"
