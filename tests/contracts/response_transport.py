"""What every `ResponseTransport` must do: suites that the runtime's, the in-process one and the buffer pass.

A subclass provides `exchange_of`, a fixture that gives a factory of exchanges, each a new transport and what
stands at its other end:

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
"""More than any kernel's buffers and ours hold for a reader that does not read."""


@dataclass(frozen=True)
class Received:
    """A response as it arrived.

    Attributes:
        complete: whether it ended as a whole response does.
    """

    content_type: str
    body: bytes
    complete: bool


class TransportExchange(Protocol):
    """A transport and its reader, which reads nothing until `received` is called."""

    @property
    def transport(self) -> ResponseTransport:
        """Where the response goes in."""
        ...

    async def break_off(self) -> None:
        """What the transport's owner does with a response that failed."""
        ...

    async def received(self) -> Received:
        """Take everything, and return it when the response has ended in whatever way."""
        ...


ExchangeFactory: TypeAlias = Callable[[], AbstractAsyncContextManager[TransportExchange]]


class ResponseTransportContract:
    """Holds for all transports."""

    async def test_pieces_arrive_whole_and_in_order(self, exchange_of: ExchangeFactory) -> None:
        """Whatever bytes they hold, also such as mean something to HTTP."""
        pieces = [b"one", b"\0" * 8, b"\r\n0\r\n\r\n", bytes(range(256)), "ü".encode()[:1], "ü".encode()[1:]]
        async with asyncio.timeout(PATIENCE_S), exchange_of() as exchange:
            received = asyncio.create_task(exchange.received())
            await exchange.transport.open("text/x-test; charset=utf-8")
            for piece in pieces:
                await exchange.transport.send(piece)
            await exchange.transport.close()
            assert await received == Received("text/x-test; charset=utf-8", b"".join(pieces), complete=True)

    async def test_a_response_without_a_piece_is_complete(self, exchange_of: ExchangeFactory) -> None:
        """It begins and ends; no reader waits for a first byte."""
        async with asyncio.timeout(PATIENCE_S), exchange_of() as exchange:
            received = asyncio.create_task(exchange.received())
            await exchange.transport.open("text/plain")
            await exchange.transport.close()
            assert await received == Received("text/plain", b"", complete=True)

    async def test_a_response_with_a_prelude_begins_with_it(self, exchange_of: ExchangeFactory) -> None:
        """The stream in front of the transport needs nothing else of it."""
        async with asyncio.timeout(PATIENCE_S), exchange_of() as exchange:
            received = asyncio.create_task(exchange.received())
            stream = HttpResponseStream.from_(ResponseStream(exchange.transport), {"statusCode": 201})
            await stream.write("payload")
            await stream.end()
            body = encode_prelude({"statusCode": 201}) + b"payload"
            assert await received == Received(PRELUDE_CONTENT_TYPE, body, complete=True)


class StreamedResponseTransportContract(ResponseTransportContract):
    """Holds for transports that are read while the handler still writes."""

    @pytest.mark.parametrize("pieces", [1, 3])
    async def test_a_response_that_is_broken_off_does_not_look_complete(
        self, exchange_of: ExchangeFactory, pieces: int
    ) -> None:
        """What has been sent arrives, and that it is not all can be seen."""
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
        """Backpressure: no more than a bounded amount is held, and all of it arrives in the end."""
        async with asyncio.timeout(PATIENCE_S), exchange_of() as exchange:
            sent, waiting = await _send_until_one_waits(exchange.transport)
            received = asyncio.create_task(exchange.received())
            await waiting
            await exchange.transport.close()
            response = await received
            assert response.complete
            assert response.body == b"".join(_piece(number) for number in range(sent + 1))

    async def test_a_send_that_is_cancelled_never_cuts_a_piece(self, exchange_of: ExchangeFactory) -> None:
        """The whole piece arrives or none of it, and the response continues after it."""
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
    """Return how many pieces were sent, and the sending of the next one, which waits."""
    await transport.open("application/octet-stream")
    for sent in range(MAX_HELD_BYTES // PIECE_BYTES):
        sending = asyncio.create_task(transport.send(_piece(sent)))
        await wait_all_tasks_blocked()
        if not sending.done():
            return sent, sending
        await sending
    pytest.fail(f"{MAX_HELD_BYTES} bytes were accepted without a reader")
