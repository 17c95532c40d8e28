"""The time to the first chunk of a turn whose message is analysed, against that of the same turn without.

    PYTHONPATH=tests .venv/bin/python bench/analysis_latency.py [--turns N]

SQLite, and a Bedrock in another process on localhost, whose models take 0.3 s to the first delta, which is
fast for a real one. Turns without analysis, with one that is answered at once, and with one that is never
answered take turns, so that the machine's load affects all of them equally.

Budget: 1.05 times, at the median, on a machine that does nothing else: what the analysis adds is the
computing of one more request.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from contextlib import aclosing
from pathlib import Path

import msgspec

from coachstream.conversation.events import Chunk, Event
from coachstream.conversation.model import Conversation, ConversationKey
from coachstream.conversation.ports import MessageAnalyser
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.request import TurnRequest
from coachstream.conversation.turn.turn import run_turn
from coachstream.language.bedrock import BedrockModel
from coachstream.language.bedrock.analysis import BedrockAnalyser
from coachstream.services import SystemClock
from coachstream.storage.sqlite import SqliteStore
from measuring.surroundings import CREDENTIALS
from support.bedrock_server import bedrock_client, bedrock_server_process, options_with

MODEL_ID = "us.amazon.nova-2-lite-v1:0"

FIRST_DELTA_S = 0.3


async def first_chunk_ms(dependencies: TurnDependencies, key: ConversationKey) -> float:
    """Run a turn until its first chunk, and return when that was sent."""
    now = dependencies.clock.now()
    key = msgspec.structs.replace(key, conversation_id=f"conv_{time.time_ns()}")
    await dependencies.conversations.create_conversation(Conversation(key, "Bench", now, now))
    first: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    began = time.perf_counter()

    async def send(event: Event) -> None:
        if isinstance(event, Chunk) and not first.done():
            first.set_result(time.perf_counter() - began)

    request = TurnRequest(key, "I did 5x5 squats", time.monotonic() + 60, streamed=True)
    turn = asyncio.create_task(run_turn(request, dependencies, send=send))
    try:
        return await first * 1000
    finally:
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)


async def never_respond(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Take requests, and nothing more."""
    while await reader.read(65_536):
        pass


async def measure(turns: int, url: str) -> None:
    """Run all turns and print."""
    silent = await asyncio.start_server(never_respond, "127.0.0.1", 0)
    silent_url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        async with (
            bedrock_client(url) as client,
            bedrock_client(silent_url) as silent_client,
            aclosing(SqliteStore(Path(folder) / "bench.db")) as store,
        ):
            key = ConversationKey("sam", "mara", "")
            await store.put_coach(key.user_id, key.coach_id, {"coach_name": "Mara"})
            kinds: dict[str, MessageAnalyser | None] = {
                "no analysis": None,
                "analysis, answered at once": BedrockAnalyser(client, MODEL_ID),
                "analysis, never answered": BedrockAnalyser(silent_client, MODEL_ID),
            }
            took: dict[str, list[float]] = {name: [] for name in kinds}
            for number in range(turns + 1):
                for name, analyser in kinds.items():
                    dependencies = TurnDependencies(
                        runs=store,
                        context=store,
                        conversations=store,
                        memories=store,
                        model=BedrockModel(client, options_with()),
                        recall=None,
                        clock=SystemClock(),
                        analyser=analyser,
                    )
                    milliseconds = await first_chunk_ms(dependencies, key)
                    if number:  # the first one warms up
                        took[name].append(milliseconds)
    silent.close()
    without = statistics.median(took["no analysis"])
    for name, times in took.items():
        median = statistics.median(times)
        print(f"{median:7.1f} ms  {median / without:5.2f}x  {name}")


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=40)
    turns: int = parser.parse_args().turns
    os.environ |= CREDENTIALS
    with bedrock_server_process(delta_pause_s=FIRST_DELTA_S) as url:
        asyncio.run(measure(turns, url))


if __name__ == "__main__":
    main()
