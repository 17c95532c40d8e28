"""What a function's process does before its first request."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from coachstream.functions.initialization import reseed
from contracts.token_verifier import UserPool
from support.cold_environment import cognito_environment, package_keys
from support.patience import PATIENCE_S

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

AT_AWS = {
    **HALF_OF_COGNITO,
    "APP_CLIENT_ID": "web",
    "COACHSTREAM_RECALL": "pinecone",
    "PINECONE_API_KEY_SECRET_ARN": "arn:aws:secretsmanager:us-west-2:123456789012:secret:pinecone-a1B2c3",
    "PINECONE_INDEX_HOST": "index.example",
    "BUILD_WORKOUT_FUNCTION_NAME": "build-workout",
}

HEAVY = (
    "aiobotocore",
    "aiohttp",
    "anyio",
    "aws_lambda_powertools",
    "botocore",
    "cryptography",
    "email",
    "h11",
    "http.client",
    "httpx",
    "jwt",
    "multiprocessing",
    "pinecone",
    "sqlite3",
    "urllib.request",
    "coachstream.conversation.prompt.prompt",
    "coachstream.web.ag_ui",
    "coachstream.web.ai_sdk",
    "coachstream.conversation.turn.turn",
    "coachstream.language",
    "coachstream.recall",
    "coachstream.storage",
)
"""Modules that `start` does not need, or, like PyJWT, only once there is a token."""


def imported(function: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import coachstream.functions.{function}.handler"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize("function", HANDLERS)
def test_on_lambda_a_function_does_not_start_with_settings_that_are_missing(function: str) -> None:
    """Lambda's log names every configuration error at once."""
    refused = imported(function, ON_LAMBDA)
    assert refused.returncode != 0
    for name in ("COACHSTREAM_STORE", "COACHSTREAM_MODEL", "COACHSTREAM_IDENTITY"):
        assert f"{name} is not set" in refused.stderr


def test_on_lambda_a_function_does_not_start_without_an_app_client_id() -> None:
    """It would have to accept the tokens of any application of the user pool, or none."""
    refused = imported("stream_coach_conversation", {**ON_LAMBDA, **HALF_OF_COGNITO})
    assert refused.returncode != 0
    assert "APP_CLIENT_ID" in refused.stderr
    started = imported("stream_coach_conversation", {**ON_LAMBDA, **HALF_OF_COGNITO, "APP_CLIENT_ID": "web"})
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize("function", HANDLERS)
def test_elsewhere_a_handler_can_be_imported_without_any_settings(function: str) -> None:
    """A test or a tool may inspect it; no request is served."""
    assert imported(function, {}).returncode == 0


def run(program: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("function", HANDLERS)
def test_a_functions_module_imports_nothing_that_can_be_deferred(function: str) -> None:
    """Heavy packages and adapters are imported once the first byte is sent or a token must be verified."""
    program = (
        f"import sys, coachstream.functions.{function}.handler;"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert run(program, {**ON_LAMBDA, **AT_AWS}).strip() == "[]"


@pytest.mark.parametrize("kind", ["snap-start", "provisioned-concurrency", "lambda-managed-instances"])
def test_a_preinitialized_function_loads_everything_and_opens_nothing(kind: str) -> None:
    """A snapshot holds the modules and service models for a turn, but no socket and no credentials."""
    program = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('a socket')\n"
        "socket.socket.connect = refuse\n"
        "import coachstream.functions.stream_coach_conversation.handler\n"
        "import coachstream.aws.clients as clients\n"
        "print([name for name in ('aiobotocore', 'aiohttp', 'pinecone', 'jwt', 'aws_lambda_powertools',"
        " 'coachstream.conversation.turn.turn', 'coachstream.storage.dynamodb', 'coachstream.web.ai_sdk',"
        " 'coachstream.language.bedrock')"
        " if name not in sys.modules], clients._prepared._credentials)"
    )
    environment = {**ON_LAMBDA, **AT_AWS, "AWS_LAMBDA_INITIALIZATION_TYPE": kind}
    assert run(program, environment).strip() == "[] None"


def test_after_a_restore_an_environment_has_random_numbers_of_its_own() -> None:
    """Python's generator is part of the snapshot, so all restored environments would draw the same."""
    snapshot = random.getstate()
    drawn = set()
    for _ in range(3):
        random.setstate(snapshot)
        reseed()
        drawn.add(random.random())  # noqa: S311 (that is the point)
    assert len(drawn) == 3


def test_a_snapshot_is_reseeded_by_the_runtimes_hook() -> None:
    """The handler's module registers it with the package whose hooks awslambdaric runs."""
    program = (
        "import snapshot_restore_py, coachstream.functions.stream_coach_conversation.handler;"
        "print([hook[0].__name__ for hook in snapshot_restore_py.get_after_restore()])"
    )
    environment = {**ON_LAMBDA, **AT_AWS}
    assert run(program, environment).strip() == "[]"
    environment["AWS_LAMBDA_INITIALIZATION_TYPE"] = "snap-start"
    assert run(program, environment).strip() == "['reseed']"


@pytest.mark.parametrize("function", HANDLERS)
def test_on_lambda_a_function_does_not_start_with_another_pools_keys(function: str, tmp_path: Path) -> None:
    """Nor with an invalid file: the log names the variable and what is wrong."""
    other = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_OtherPool"
    environment = {**ON_LAMBDA, **cognito_environment(tmp_path, "http://127.0.0.1:9")}
    package = package_keys(tmp_path, UserPool(), issuer=other)
    refused = imported(function, environment | package)
    assert refused.returncode != 0
    assert "COACHSTREAM_JWKS_FILE cannot be used" in refused.stderr
    assert f"holds the keys of {other}, not of https://" in refused.stderr
    Path(package["COACHSTREAM_JWKS_FILE"]).write_text("<html>")
    assert "not a JWKS document" in imported(function, environment | package).stderr
    assert imported(function, environment | package_keys(tmp_path, UserPool())).returncode == 0
