"""Records the Runtime API calls of a runtime process for a list of events, to compare two runtimes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from support.scripted_runtime_api import Call, runtime, scripted_runtime_api

PLAIN = "support.streaming_functions.plain"
EVENTS: list[dict[str, object]] = [
    {"return": {"statusCode": 200, "body": "grün"}},
    {"return": "text"},
    {"return": None},
    {"return": [1, 2.5, True]},
    {"return": 1, "bytes": True},
    {"raise": "missing"},
    {"raise": "日本 ü"},
]

#: Stands in for awslambdaric's native extension where it does not exist, as on macOS.
WITHOUT_EXTENSION = (
    "import sys; sys.modules['runtime_client'] = None;"
    "from lambda_streaming.runtime import run; run(['-', sys.argv[1]])"
)


def record(
    log: Path,
    handler: str,
    events: list[dict[str, object]],
    *,
    module: str = "lambda_streaming",
    command: list[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[list[Call], str]:
    """Return one call for each event, and the log; without events, return the call of a failed init."""
    with (
        scripted_runtime_api() as api,
        runtime(api, handler, log, module=module, command=command, environment=environment) as process,
    ):
        calls = []
        for number, event in enumerate(events):
            api.give(event, request_id=f"r{number}", invocation_id=f"attempt-{number}", trace_id="Root=1-a")
            calls.append(api.call().wait())
        if events:
            api.wait_until_asked()
        else:
            calls.append(api.call().wait())
            assert process.wait() == 1
        return calls, process.log


def comparable(text: str) -> str:
    """Return the text without ports, times and memory addresses, which differ between runs."""
    text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return re.sub(r"0x[0-9a-f]+", "POINTER", text)
