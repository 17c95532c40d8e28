"""How a function serves several invocations at once on Lambda Managed Instances."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from lambda_streaming.choices import choice_of

VARIABLE: Final = "LAMBDA_STREAMING_CONCURRENCY"
"""The environment variable that decides; it has no effect where invocations come one after the other."""


class Concurrency(StrEnum):
    """What runs invocations that arrive at the same time.

    Attributes:
        PROCESSES: a process for each, as the stock runtime does it.
        ASYNCIO: one process, on one event loop; for asynchronous handlers and ASGI apps.
    """

    PROCESSES = "processes"
    ASYNCIO = "asyncio"


def configured_concurrency() -> Concurrency:
    """Return the value of the environment variable, `PROCESSES` if it is not set.

    Raises:
        ValueError: it has another value than `Concurrency`.
    """
    return choice_of(VARIABLE, Concurrency.PROCESSES)
