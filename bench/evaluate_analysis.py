"""Precision and recall of the analysis of messages, on `analysis/messages.jsonl`.

    make evaluate
    make evaluate ARGS="--model us.amazon.nova-2-lite-v1:0 --model us.amazon.nova-micro-v1:0"

Evaluates the demo's rules, and each named model on Bedrock, which costs a few cents. The messages were
written for this purpose, in six languages: reports and requests, and what looks like them (plans, questions,
negations, jokes, quotations, other people). The rules were improved on most of them; those that are held out
were written afterwards, and show better how the rules do on other messages.

A call that fails finds nothing, as in a turn, and is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from coachstream.aws.clients import AwsSession, Connection
from coachstream.conversation.analysis import MessageAnalysis
from coachstream.conversation.errors import CoachStreamError
from coachstream.conversation.ports import MessageAnalyser
from coachstream.language.bedrock.analysis import BedrockAnalyser
from coachstream.language.demo.analysis import RuleAnalyser

MESSAGES = Path(__file__).parent / "analysis" / "messages.jsonl"

AT_ONCE = 4
"""Few enough for the quota of a new account."""

Found = Callable[[MessageAnalysis], bool]


class Labelled(msgspec.Struct, frozen=True, rename="camel"):
    """A message, and what it asks for.

    Attributes:
        language: ISO 639-1.
        kind: what makes it easy or hard, such as `negation`.
        held_out: whether the rules were written without it.
        workout: whether it reports a workout.
        memory: whether it asks to have something remembered.
    """

    language: str
    kind: str
    held_out: bool
    workout: bool
    memory: bool
    text: str


class Outcome(msgspec.Struct, frozen=True):
    """The verdict on a message; None if the call failed."""

    message: Labelled
    analysis: MessageAnalysis | None
    seconds: float

    @property
    def finds_workout(self) -> bool:
        """Whether a workout would be handed off."""
        return self.analysis is not None and self.analysis.reports_workout

    @property
    def finds_memory(self) -> bool:
        """Whether a memory would be saved."""
        return self.analysis is not None and self.analysis.requests_memory


class Score(msgspec.Struct, frozen=True):
    """Counts of one question over some messages."""

    right: int
    invented: int
    missed: int

    @property
    def precision(self) -> float:
        """The share of what was found that is there; 1 if nothing was found."""
        return self.right / (self.right + self.invented) if self.right + self.invented else 1.0

    @property
    def recall(self) -> float:
        """The share of what is there that was found; 1 if nothing is there."""
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0


def labelled_messages() -> list[Labelled]:
    """The evaluation set."""
    lines = MESSAGES.read_text().splitlines()
    return [msgspec.json.decode(line, type=Labelled) for line in lines]


def score(answers: Iterable[tuple[bool, bool]]) -> Score:
    """The score of pairs of what is there and what was found."""
    pairs = list(answers)
    return Score(pairs.count((True, True)), pairs.count((False, True)), pairs.count((True, False)))


def workouts(outcomes: Iterable[Outcome]) -> Score:
    """The score for workouts."""
    return score((each.message.workout, each.finds_workout) for each in outcomes)


def memories(outcomes: Iterable[Outcome]) -> Score:
    """The score for requests to remember something."""
    return score((each.message.memory, each.finds_memory) for each in outcomes)


async def evaluate(analyser: MessageAnalyser, messages: Sequence[Labelled]) -> list[Outcome]:
    """Analyse all messages, a few at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(message: Labelled) -> Outcome:
        async with gate:
            began = time.perf_counter()
            analysis: MessageAnalysis | None = None
            try:
                analysis = await analyser.analyse(message.text)
            except CoachStreamError as error:
                print(f"  failed: {error}")
            return Outcome(message, analysis, time.perf_counter() - began)

    return list(await asyncio.gather(*map(one, messages)))


def report(name: str, outcomes: Sequence[Outcome], *, shows_wrong: bool) -> None:
    """Print the figures of one analyser."""
    times = sorted(each.seconds for each in outcomes)
    failed = sum(each.analysis is None for each in outcomes)
    print(f"\n{name}: {len(outcomes)} messages, {failed} failed calls")
    slow_s = times[len(times) * 95 // 100]
    print(f"  time: median {statistics.median(times) * 1000:.1f} ms, 95th percentile {slow_s * 1000:.1f} ms")
    groups = {"all": outcomes, "held out": [each for each in outcomes if each.message.held_out]}
    for language in dict.fromkeys(each.message.language for each in outcomes):
        groups[language] = [each for each in outcomes if each.message.language == language]
    print("  question  messages  precision  recall  right  invented  missed")
    for question, of in (("workout", workouts), ("memory", memories)):
        for group, members in groups.items():
            found = of(members)
            print(
                f"  {question:8}  {group:8}  {found.precision:9.2f}  {found.recall:6.2f}  {found.right:5}  "
                f"{found.invented:8}  {found.missed:6}"
            )
    for each in outcomes if shows_wrong else ():
        message = each.message
        if message.workout != each.finds_workout:
            print(f"  workout {_mistake(message.workout)} ({message.kind}): {message.text}")
        if message.memory != each.finds_memory:
            print(f"  memory {_mistake(message.memory)} ({message.kind}): {message.text}")


def _mistake(is_there: bool) -> str:
    return "missed" if is_there else "invented"


async def run(models: Sequence[str], region: str | None, *, shows_wrong: bool) -> None:
    """Evaluate and print."""
    messages = labelled_messages()
    report("rules", await evaluate(RuleAnalyser(), messages), shows_wrong=shows_wrong)
    client = AwsSession().bedrock_runtime(Connection(region=region))
    try:
        for model_id in models:
            outcomes = await evaluate(BedrockAnalyser(client, model_id), messages)
            report(model_id, outcomes, shows_wrong=shows_wrong)
    finally:
        await client.aclose()


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", action="append", default=[], help="id of a model on Bedrock; may be repeated"
    )
    parser.add_argument("--region", help="region of the models; by default the SDK's")
    parser.add_argument("--wrong", action="store_true", help="list the messages with a wrong verdict")
    options = parser.parse_args()
    asyncio.run(run(options.model, options.region, shows_wrong=options.wrong))


if __name__ == "__main__":
    main()
