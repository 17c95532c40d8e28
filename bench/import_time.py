"""The import time of a function's module, in a process that has imported nothing else.

    .venv/bin/python bench/import_time.py [--runs N]

Runs a bare interpreter, `import asyncio` and each handler in turn, so that the machine's load affects all of
them equally, and prints the best and the median of each in milliseconds, and its best relative to that of
`import asyncio`. The handlers get the environment variables that they have on Lambda.

Budget: the stream function's module within 150 ms on a 2-core machine.
"""

from __future__ import annotations

import argparse
import statistics

from measuring.processes import program_ms

HANDLERS = ("coach_conversations", "send_coach_conversation_message", "stream_coach_conversation")
ON_LAMBDA = {
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    "AWS_REGION": "us-west-2",
    "COACHSTREAM_STORE": "dynamodb",
    "DYNAMODB_TABLE_NAME": "All-Items",
    "COACHSTREAM_MODEL": "bedrock",
    "COACHSTREAM_IDENTITY": "cognito",
    "USER_POOL_ID": "us-west-2_aBcDeFgHi",
    "APP_CLIENT_ID": "web",
}
REFERENCE = "import asyncio"
PROGRAMS = (
    "pass",
    REFERENCE,
    *(f"import coachstream.functions.{function}.handler" for function in HANDLERS),
)


def main() -> None:
    """Run the benchmark and print its results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    runs: int = parser.parse_args().runs
    took: dict[str, list[float]] = {program: [] for program in PROGRAMS}
    for _ in range(runs):
        for program in PROGRAMS:
            took[program].append(program_ms(program, ON_LAMBDA))
    bare, reference = min(took["pass"]), min(took[REFERENCE])
    print(f"bare interpreter: {bare:.0f} ms")
    for program in PROGRAMS[1:]:
        best, median = (figure(took[program]) - bare for figure in (min, statistics.median))
        print(f"{best:6.0f} ms  {median:6.0f} ms  {best / (reference - bare):5.1f}  {program}")


if __name__ == "__main__":
    main()
