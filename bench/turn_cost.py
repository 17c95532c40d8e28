"""What a turn costs with everything on, against the same turn with everything off.

    PYTHONPATH=tests .venv/bin/python bench/turn_cost.py [--turns N] [--json]

On: message analysis that finds a workout and something to remember, a profile, a summary, recall with one
match, contextual events, and the hand-off of the workout. Off: none of these, for a user without a profile
and a summary. Each turn has a user of its own, with a coach, memories, workouts and a few exchanges, the same
for both kinds. DynamoDB Local runs in its own process, and the servers in place of Bedrock, Pinecone and
Lambda in another one. The turns of both kinds alternate, so that the machine's load affects them equally, and
the medians are compared.

The model takes 0.3 s to its first delta, which is fast for a real one. The budget for the time to the first
chunk is 1.05 times, on a machine that does nothing else: the model's 0.3 s stay the same on a busy one, while
everything that is computed takes longer. The CPU time of this process shows how much that is. Capacity units
are those of `ReturnConsumedCapacity`, and for transactions by the sizes of their items, without indexes
(`support.dynamodb`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from coachstream.aws.clients import Connection as AwsConnection
from coachstream.conversation.events import Chunk, Completed, Event
from coachstream.conversation.model import Conversation, ConversationKey
from coachstream.conversation.runs.exchange import store_exchange
from coachstream.conversation.turn.dependencies import TurnDependencies
from coachstream.conversation.turn.request import TurnRequest
from coachstream.conversation.turn.settings import TurnSettings
from coachstream.conversation.turn.turn import run_turn
from coachstream.hand_off.lambda_functions import LambdaWorkoutBuilder
from coachstream.language.bedrock import BedrockModel
from coachstream.language.bedrock.analysis import BedrockAnalyser
from coachstream.recall.pinecone import PineconeOptions, PineconeRecall
from coachstream.services import SystemClock
from coachstream.storage.dynamodb import DynamoDbStore
from contracts.conversation_store import COACH
from contracts.store_records import memory, reply_to, user_message, workout
from measuring.surroundings import CREDENTIALS
from support.aws_session import SESSION
from support.aws_stack import Invocations
from support.bedrock_server import (
    Pause,
    Reply,
    bedrock_client,
    bedrock_server,
    closing,
    opening,
    options_with,
    text,
    verdict,
)
from support.dynamodb import Table, a_table, dynamodb_local, missing_for_dynamodb_local
from support.http_server import serving
from support.pinecone_server import API_KEY, pinecone_server

ANALYSIS_MODEL = "us.amazon.nova-2-lite-v1:0"
PINECONE_TIMEOUT_S = 2.0
FIRST_DELTA_S = 0.3
EXCHANGES = 5
BUDGET = 1.05
MESSAGE = "I just did 5x5 squats at 100kg. Please remember that I train before breakfast."
SPEECH = Reply([opening(), Pause(FIRST_DELTA_S), *text("Nice work. ", "Rest, ", "and eat."), *closing()])
FOUND = verdict(
    isWorkoutLog=True,
    isMemoryRequest=True,
    memoryText="I train before breakfast",
    memoryType="preference",
    memoryImportance="medium",
    memoryTags=["schedule"],
)
PROFILE = {
    "firstName": "Sam",
    "preferences": {"timezone": "America/Los_Angeles"},
    "fitness": {"goals": ["a first pull-up"]},
    "criticalTrainingDirective": {"enabled": True, "content": "No jumping."},
    "athleteProfile": {"summary": "Has lifted for two years. " * 20},
}
MATCH = {"_id": "squat", "text": "Squats, five by five.", "title": "Squats"}
SUMMARY = {"narrative": "Sam prepares a first competition and sleeps badly. " * 20}


@dataclass
class Costs:
    """The costs of the turns of one kind, one entry a turn."""

    first_chunk_ms: list[float] = field(default_factory=list)
    first_chunk_cpu_ms: list[float] = field(default_factory=list)
    whole_ms: list[float] = field(default_factory=list)
    model_calls: list[float] = field(default_factory=list)
    read_units: list[float] = field(default_factory=list)
    write_units: list[float] = field(default_factory=list)
    table_calls: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        """The median of each cost."""
        return {name: statistics.median(values) for name, values in vars(self).items()}


@dataclass(frozen=True)
class Kind:
    """One kind of turn: its adapters, its settings, and whether its users have a profile and a summary."""

    dependencies: TurnDependencies
    settings: TurnSettings
    is_known: bool


class Urls(NamedTuple):
    """The addresses of the servers in place of AWS and Pinecone."""

    bedrock: str
    pinecone: str
    functions: str


def serve_others(urls: Connection[Urls, Urls]) -> None:
    """Serve until this process is terminated; sends the addresses when it is ready."""

    async def serve() -> None:
        async with bedrock_server() as bedrock, pinecone_server() as pinecone, serving(Invocations()) as port:
            bedrock.always, bedrock.verdict = SPEECH, FOUND
            pinecone.records["methodology"] = {"squat": MATCH}
            urls.send(Urls(bedrock.url, pinecone.url, f"http://127.0.0.1:{port}"))
            await asyncio.Event().wait()

    asyncio.run(serve())


@contextmanager
def others_served() -> Iterator[Urls]:
    """Run the servers in another process."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=serve_others, args=(sending,), daemon=True)
    process.start()
    try:
        yield receiving.recv()
    finally:
        process.terminate()
        process.join()


async def run_one(kind: Kind, key: ConversationKey, table: Table, asked: list[str], costs: Costs) -> None:
    """Run a turn to its end, and note what it cost."""
    events: list[tuple[float, float, Event]] = []
    began, computed = time.perf_counter(), time.process_time()

    async def send(event: Event) -> None:
        events.append((time.perf_counter() - began, time.process_time() - computed, event))

    asked.clear()
    async with table.metered() as spent:
        request = TurnRequest(key, MESSAGE, time.monotonic() + 60, streamed=True)
        began, computed = time.perf_counter(), time.process_time()
        await run_turn(request, kind.dependencies, kind.settings, send=send)
        whole_s = time.perf_counter() - began
    *_, (_, _, last) = events
    if not isinstance(last, Completed):
        raise SystemExit(f"A turn failed: {last}")
    first_s, first_cpu_s = next(times for *times, event in events if isinstance(event, Chunk))
    costs.first_chunk_ms.append(1000 * first_s)
    costs.first_chunk_cpu_ms.append(1000 * first_cpu_s)
    costs.whole_ms.append(1000 * whole_s)
    costs.model_calls.append(len(asked))
    costs.read_units.append(spent.reads)
    costs.write_units.append(spent.writes)
    costs.table_calls.append(sum(spent.calls.values()))


async def measure(table_url: str, urls: Urls, turns: int) -> dict[str, Costs]:
    """Run all turns, a warm-up of each kind first."""
    async with AsyncExitStack() as stack:
        table = await stack.enter_async_context(a_table(table_url))
        client = await stack.enter_async_context(bedrock_client(urls.bedrock, by_sdk=True))
        asked: list[str] = []
        (await client()).meta.events.register(
            "before-call.bedrock-runtime", lambda model, **_: asked.append(model.name)
        )
        functions = SESSION.functions(AwsConnection(region="us-west-2", endpoint_url=urls.functions))
        stack.push_async_callback(functions.aclose)
        index = PineconeOptions(api_key=API_KEY, index_host=urls.pinecone, timeout_s=PINECONE_TIMEOUT_S)
        recall = PineconeRecall(index)
        stack.push_async_callback(recall.aclose)
        store = table.store()
        model = BedrockModel(client, options_with())
        off = TurnDependencies(
            runs=store, context=store, conversations=store, memories=store, model=model, clock=SystemClock(),
            recall=None,
        )  # fmt: skip
        on = TurnDependencies(
            runs=store, context=store, conversations=store, memories=store, model=model, clock=SystemClock(),
            recall=recall, analyser=BedrockAnalyser(client, ANALYSIS_MODEL),
            workout_builder=LambdaWorkoutBuilder(functions, "build-workout"),
        )  # fmt: skip
        kinds = {
            "off": Kind(off, TurnSettings(contextual_events=False), is_known=False),
            "on": Kind(on, TurnSettings(), is_known=True),
        }
        costs = {name: Costs() for name in kinds}
        for number in range(turns + 1):
            # Which kind is first alternates: what the other one left behind affects both.
            for name in sorted(kinds, reverse=bool(number % 2)):
                key = await a_user(store, f"{name}-{number}", is_known=kinds[name].is_known)
                await run_one(kinds[name], key, table, asked, costs[name] if number else Costs())
        return costs


async def a_user(store: DynamoDbStore, user_id: str, *, is_known: bool) -> ConversationKey:
    """Create a user with a coach, memories, workouts and a conversation with a few exchanges."""
    key = ConversationKey(user_id, "mara", "conv-1")
    now = SystemClock().now()
    await store.put_coach(user_id, "mara", COACH)
    await store.create_conversation(Conversation(key, "Bench", now, now))
    for number in range(3):
        name = f"record-{number}"
        await store.put_memory(user_id, name, memory(name))
        await store.put_workout(user_id, name, workout(name, f"2026-11-2{number}T08:00:00.000Z"))
    for number in range(EXCHANGES):
        question = user_message(2 * number + 1, f"Question {number}? " * 20)
        await store_exchange(store, key, question, reply_to(question, 2 * number + 2, "An answer. " * 40))
    if is_known:
        await store.put_profile(user_id, PROFILE)
        await store.put_summary(key, SUMMARY)
    return key


ROWS = {
    "model_calls": "model calls",
    "read_units": "DynamoDB read units",
    "write_units": "DynamoDB write units",
    "table_calls": "DynamoDB calls",
    "first_chunk_ms": "time to first chunk, ms",
    "first_chunk_cpu_ms": "CPU until then, ms",
    "whole_ms": "whole turn, ms",
}


def main() -> None:
    """Read the options, run, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=30, help="of each kind (default: 30)")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    given = parser.parse_args()
    if missing := missing_for_dynamodb_local():
        raise SystemExit(f"The benchmark {missing}")
    os.environ |= CREDENTIALS
    with (
        tempfile.TemporaryDirectory() as folder,
        dynamodb_local(Path(folder) / "log") as table_url,
        others_served() as urls,
    ):
        costs = asyncio.run(measure(table_url, urls, given.turns))
    medians = {name: each.medians() for name, each in costs.items()}
    ratio = medians["on"]["first_chunk_ms"] / medians["off"]["first_chunk_ms"]
    result = {"turns": given.turns, "medians": medians, "firstChunkRatio": round(ratio, 3), "budget": BUDGET}
    if not given.json:
        print(f"{'medians of a turn':26}{'off':>10}{'on':>10}{'on / off':>10}")
        for name, label in ROWS.items():
            off, on = medians["off"][name], medians["on"][name]
            print(f"{label:26}{off:10.1f}{on:10.1f}{on / off:9.2f}x")
        print(f"{'within the budget of' if ratio <= BUDGET else 'over the budget of'} {BUDGET:g}x\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
