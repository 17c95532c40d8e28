"""What a function's process does before its first request."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HANDLERS = ("coach_conversations", "send_coach_conversation_message", "stream_coach_conversation")
ON_LAMBDA = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}
HALF_OF_COGNITO = {
    "COACHSTREAM_STORE": "dynamodb",
    "DYNAMODB_TABLE_NAME": "All-Items",
    "COACHSTREAM_MODEL": "bedrock",
    "COACHSTREAM_IDENTITY": "cognito",
    "USER_POOL_ID": "us-west-2_aBcDeFgHi",
    "AWS_REGION": "us-west-2",
}


def imported(function: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import coachstream.functions.{function}.handler"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("function", HANDLERS)
def test_on_lambda_a_function_does_not_start_with_settings_that_are_missing(function: str) -> None:
    """Every mistake is named in what Lambda logs, so that one look mends them all."""
    refused = imported(function, ON_LAMBDA)
    assert refused.returncode != 0
    for name in ("COACHSTREAM_STORE", "COACHSTREAM_MODEL", "COACHSTREAM_IDENTITY"):
        assert f"{name} is not set" in refused.stderr


def test_on_lambda_a_function_does_not_start_without_a_client_to_check_tokens_for() -> None:
    """It would have to accept the tokens of any application of the pool, or none."""
    refused = imported("stream_coach_conversation", {**ON_LAMBDA, **HALF_OF_COGNITO})
    assert refused.returncode != 0
    assert "APP_CLIENT_ID" in refused.stderr
    started = imported("stream_coach_conversation", {**ON_LAMBDA, **HALF_OF_COGNITO, "APP_CLIENT_ID": "web"})
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize("function", HANDLERS)
def test_elsewhere_a_handler_can_be_imported_without_any_settings(function: str) -> None:
    """A test or a tool looks at it, and nobody is served."""
    assert imported(function, {}).returncode == 0
