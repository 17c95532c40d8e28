"""Sentry's SDK under our runtime, with the functions of its page, against a server that takes envelopes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.intake import Intake, intake
from support.monitoring import WRAPPER, function, program, save_page

pytestmark = pytest.mark.peer

HELLO = "Hello, streaming world! "


@pytest.fixture
def sentry() -> Iterator[Intake]:
    """What Sentry's SDK sends."""
    with intake() as taken:
        yield taken


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The functions of the page."""
    assert save_page("sentry.md", tmp_path) == ["main", "web"]
    return tmp_path


def _environment(sentry: Intake) -> dict[str, str]:
    return {"SENTRY_DSN": sentry.url.replace("//", "//key@") + "/1"}


def _items(sentry: Intake) -> list[dict[str, Any]]:
    """The errors and transactions that were sent before the function was frozen, one an envelope."""
    envelopes = [sent.body.split(b"\n") for sent in sentry.in_time()]
    found = [json.loads(payload) for _, header, payload, *_ in envelopes if b'"sessions"' not in header]
    return [item for item in found if item.get("type") == "transaction" or "exception" in item]


def _frames(error: dict[str, Any]) -> list[str]:
    frames = error["exception"]["values"][-1]["stacktrace"]["frames"]
    return [f"{frame['module']}.{frame['function']}" for frame in frames]


@pytest.mark.parametrize("started", ["container", "managed runtime"])
def test_the_integration_for_lambda_records_streams_and_their_errors(
    folder: Path, sentry: Intake, started: str
) -> None:
    """Each is sent before the next event is asked for, and a transaction has all spans of the stream."""
    command = [] if started == "container" else [str(WRAPPER), program("python"), "/var/runtime/bootstrap.py"]
    with function(
        folder, "main.handler", command=command, environment=_environment(sentry), intake=sentry
    ) as running:
        assert running.invoke("/again").body.endswith(f"{HELLO}again ".encode())
        (transaction,) = _items(sentry)
        call = running.invoke("/")
        assert call.body.endswith(HELLO.encode())
        assert call.trailers["lambda-runtime-function-error-type"] == "ValueError"
        error, failed = _items(sentry)
    assert "AwsLambdaIntegration disabled" not in running.runtime.log
    assert transaction["contexts"]["trace"]["op"] == "function.aws"
    assert [span["description"] for span in transaction["spans"]] == ["first words"]
    assert transaction["extra"]["lambda"]["aws_request_id"] == "again"
    assert failed["contexts"]["trace"]["status"] == "internal_error"
    assert _frames(error) == ["lambda_streaming.streaming.handler", "main.handler", "main.model"]
    assert error["contexts"]["trace"]["trace_id"] == failed["contexts"]["trace"]["trace_id"]


def test_the_integration_of_a_framework_reports_an_apps_error_once(folder: Path, sentry: Intake) -> None:
    """The transaction is named after the route, lasts as long as the stream, and is sent in time."""
    with function(folder, "web.handler", environment=_environment(sentry), intake=sentry) as running:
        assert running.invoke("/words/again").body.endswith(b"Hello, again")
        (transaction,) = _items(sentry)
        call = running.invoke("/words/none")
        assert call.trailers["lambda-runtime-function-error-type"] == "ValueError"
        error, failed = sorted(_items(sentry), key=lambda item: item.get("type", ""))
    assert transaction["transaction"] == failed["transaction"] == "/words/{words}"
    assert "words" in [span["description"] for span in transaction["spans"]]
    assert _frames(error)[-1] == "web.pieces"


PLAIN_AND_THREAD = """
import sentry_sdk
from sentry_sdk.integrations.aws_lambda import AwsLambdaIntegration
from lambda_streaming import streamify_response

sentry_sdk.init(integrations=[AwsLambdaIntegration()], traces_sample_rate=1.0)


def plain(event, context):
    if event["rawPath"] == "/fails":
        raise ValueError("no")
    return "x"


@streamify_response
def yields(event, context):
    yield "x"
    with sentry_sdk.start_span(op="model", name="in a thread"):
        plain(event, context)


def handler(event, context):
    return (yields if event["headers"].get("x-thread") else plain)(event, context)
"""


def test_plain_handlers_and_generators_in_threads_are_recorded(tmp_path: Path, sentry: Intake) -> None:
    """Spans of the thread are part of the transaction."""
    (tmp_path / "app.py").write_text(PLAIN_AND_THREAD)
    with function(tmp_path, "app.handler", environment=_environment(sentry), intake=sentry) as running:
        assert running.invoke("/works").body == b'"x"'
        (works,) = _items(sentry)
        assert running.invoke("/fails").path.endswith("/error")
        error, _ = _items(sentry)
        assert running.invoke("/works", x_thread="1").body == b"x"
        (in_thread,) = _items(sentry)
        running.invoke("/fails", x_thread="1")
        late, _ = _items(sentry)
    assert works["contexts"]["trace"]["op"] == "function.aws"
    assert _frames(error) == ["app.handler", "app.plain"]
    assert [span["description"] for span in in_thread["spans"]] == ["in a thread"]
    assert _frames(late)[1:] == ["lambda_streaming.streaming.handler", "app.yields", "app.plain"]


FAILS_TO_IMPORT = """
import sentry_sdk
from sentry_sdk.integrations.aws_lambda import AwsLambdaIntegration

sentry_sdk.init(integrations=[AwsLambdaIntegration()])


def connect():
    raise LookupError("no database")


connect()
"""


def test_an_error_of_the_init_phase_is_reported(tmp_path: Path, sentry: Intake) -> None:
    """Sentry reads it from what the runtime reports to Lambda, which has the function's frames only."""
    (tmp_path / "app.py").write_text(FAILS_TO_IMPORT)
    with function(tmp_path, "app.handler", environment=_environment(sentry)) as running:
        assert running.runtime.wait() == 1
    sentry.freeze()
    (error,) = _items(sentry)
    assert error["exception"]["values"][-1]["value"] == "no database"
    frames = error["exception"]["values"][-1]["stacktrace"]["frames"]
    assert [frame["function"] for frame in frames] == ["<module>", "connect"]
