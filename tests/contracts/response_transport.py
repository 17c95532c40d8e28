"""What every `ResponseTransport` must do: suites for the runtime's, the in-process one and the buffer.

A subclass provides `exchange_of`, a fixture that gives a factory of exchanges, each a new transport and its
A subclass provides `exchange_of`, a fixture that gives a factory of exchanges, each a new transport and its

    class TestMine(ResponseTransportContract):
        @pytest.fixture
        def exchange_of(self) -> ExchangeFactory: ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import pytest
from anyio import wait_all_tasks_blocked

from lambda_streaming import HttpResponseStream, ResponseStream, ResponseTransport
from lambda_streaming.prelude import PRELUDE_CONTENT_TYPE, encode_prelude
from support.patience import PATIENCE_S

PIECE_BYTES = 256 * 1024
MAX_HELD_BYTES = 16 * 1024 * 1024
"""More than the kernel's buffers and ours can hold for a reader that does not read."""


@dataclass(frozen=True)
class Received:
    """A response as it was received.

    Attributes:
        complete: whether it ended as a complete response does.
    """

    content_type: str
    body: bytes
    complete: bool


class TransportExchange(Protocol):
    """A transport and its reader, which reads nothing until `received` is called."""

    @property
    def transport(self) -> ResponseTransport:
        """The transport that the response is written to."""
        ...

    async def break_off(self) -> None:
        """End the response as the transport's owner does after a failure."""
        ...

    async def received(self) -> Received:
        """Read everything, and return it once the response has ended in any way."""
        ...


ExchangeFactory: TypeAlias = Callable[[], AbstractAsyncContextManager[TransportExchange]]


class ResponseTransportContract:
    """Holds for all transports."""

    async def test_pieces_arrive_whole_and_in_order(self, exchange_of: ExchangeFactory) -> None:
        """They may hold any bytes, including those with a meaning in HTTP."""
        pieces = [b"one", b"\0" * 8, b"\r\n0\r\n\r\n", bytes(range(256)), "ü".encode()[:1], "ü".encode()[1:]]
        async with asyncio.timeout(PATIENCE_S), exchange_of() as exchange:
            received = asyncio.create_task(exchange.received())
            await exchange.transport.open("text/x-test; charset=utf-8")
            for piece in pieces:
                await exchange.transport.send(piece)
            await exchange.transport.close()
            assert await received == Received("text/x-test; charset=utf-8", b"".join(pieces), complete=True)

    async def test_a_response_without_a_piece_is_complete(self, exchange_of: ExchangeFactory) -> None:
        """It begins and ends, and no reader waits for a first byte."""
        async with asyncio.timeout(PATIENCE_S), exchange_of() as exchange:
            received = asyncio.create_task(exchange.received())
            await exchange.transport.open("text/plain")
            await exchange.transport.close()
            assert await received == Received("text/plain", b"", complete=True)

    async def test_a_response_with_a_prelude_begins_with_it(self, exchange_of: ExchangeFactory) -> None:
        """The stream needs nothing but this from its transport."""
        async with asyncio.timeout(PATIENCE_S), exchange_of() as exchange:
            received = asyncio.create_task(exchange.received())
            stream = HttpResponseStream.from_(ResponseStream(exchange.transport), {"statusCode": 201})
            await stream.write("payload")
            await stream.end()
            body = encode_prelude({"statusCode": 201}) + b"payload"
            assert await received == Received(PRELUDE_CONTENT_TYPE, body, complete=True)


class StreamedResponseTransportContract(ResponseTransportContract):
    """Holds for transports whose reader reads while the handler is still writing."""

    @pytest.mark.parametrize("pieces", [1, 3])
    async def test_a_truncated_response_is_visibly_incomplete(
        self, exchange_of: ExchangeFactory, pieces: int
    ) -> None:
        """The bytes sent so far arrive, and the reader can see that they are not all."""
        async with asyncio.timeout(PATIENCE_S), exchange_of() as exchange:
            received = asyncio.create_task(exchange.received())
            await exchange.transport.open("text/plain")
            for _ in range(pieces):
                await exchange.transport.send(b"piece")
                await wait_all_tasks_blocked()
            await exchange.break_off()
            response = await received
            assert not response.complete
            assert b"piece" * pieces == response.body

    async def test_a_sender_waits_for_a_reader_that_does_not_read(self, exchange_of: ExchangeFactory) -> None:
        """Backpressure bounds the buffered bytes, and all of them arrive in the end."""
        async with asyncio.timeout(PATIENCE_S), exchange_of() as exchange:
            sent, waiting = await _send_until_one_waits(exchange.transport)
            received = asyncio.create_task(exchange.received())
            await waiting
            await exchange.transport.close()
            response = await received
            assert response.complete
            assert response.body == b"".join(_piece(number) for number in range(sent + 1))

    async def test_a_send_that_is_cancelled_never_cuts_a_piece(self, exchange_of: ExchangeFactory) -> None:
        """Either the whole piece arrives or none of it, and the response continues."""
        async with asyncio.timeout(PATIENCE_S), exchange_of() as exchange:
            sent, waiting = await _send_until_one_waits(exchange.transport)
            waiting.cancel()
            await asyncio.wait([waiting])
            received = asyncio.create_task(exchange.received())
            await exchange.transport.send(b"behind it")
            await exchange.transport.close()
            response = await received
            before = b"".join(_piece(number) for number in range(sent))
            assert response.complete
            assert response.body in (before + b"behind it", before + _piece(sent) + b"behind it")


def _piece(number: int) -> bytes:
    return number.to_bytes(4, "big") * (PIECE_BYTES // 4)


async def _send_until_one_waits(transport: ResponseTransport) -> tuple[int, asyncio.Task[None]]:
    """Return the number of pieces sent, and the task that is blocked sending the next one."""
    await transport.open("application/octet-stream")
    for sent in range(MAX_HELD_BYTES // PIECE_BYTES):
        sending = asyncio.create_task(transport.send(_piece(sent)))
        await wait_all_tasks_blocked()
        if not sending.done():
            return sent, sending
        await sending
    pytest.fail(f"{MAX_HELD_BYTES} bytes were accepted without a reader")
