"""`coachstream check`: every verdict, with its remedy, and never a secret."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from datetime import timedelta
from inspect import signature
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from coachstream.check.model_lifecycle import today
from coachstream.check.report import Finding, Report, Verdict
from coachstream.check.run import check
from coachstream.cli.check import check as check_command
from coachstream.cli.serve import serve
from coachstream.identity.local_issuer import LocalIssuer
from coachstream.settings import Settings
from contracts.token_verifier import UserPool as SigningPool
from support.bedrock_control import BedrockControl, active, bedrock_control, legacy
from support.cold_environment import cognito_environment, package_keys
from support.elsewhere import (
    CREDENTIALS,
    WITHOUT_AWS,
    Elsewhere,
    aws_endpoint,
    coachstream,
    coachstream_here,
    elsewhere,
)
from support.key_server import document, key_server
from support.patience import PATIENCE_S

ON_THIS_MACHINE = {
    "COACHSTREAM_STORE": "sqlite",
    "COACHSTREAM_MODEL": "demo",
    "COACHSTREAM_IDENTITY": "local",
    "COACHSTREAM_RECALL": "sqlite",
}
IN_DYNAMODB = {"COACHSTREAM_STORE": "dynamodb", "DYNAMODB_TABLE_NAME": "Items"}
BY_BEDROCK = {"COACHSTREAM_MODEL": "bedrock", "COACHSTREAM_ANALYSIS_MODEL_ID": "off"}
HANDED_OFF = {"BUILD_WORKOUT_FUNCTION_NAME": "build-workout"}
SECRETS = ("sesame", "hunter2")
DEFAULT = "anthropic.claude-sonnet-4-6"


@pytest.fixture(scope="module")
def servers(moto_url: str, dynamodb_url: str) -> Iterator[Elsewhere]:
    with elsewhere(moto_url, dynamodb_url) as servers:
        created = coachstream("table", "create", environment=servers.environment)
        assert created.returncode == 0, created.stderr
        yield servers


@pytest.fixture
def control() -> Iterator[BedrockControl]:
    """Bedrock's control plane, which lists the default model."""
    with bedrock_control() as control:
        control.add(DEFAULT)
        yield control


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, control: BedrockControl) -> dict[str, str]:
    """Every part local, with credentials set; the SDK reads the process's own environment."""
    for name in set(os.environ) - set(WITHOUT_AWS):
        monkeypatch.delenv(name)
    for name, value in {**WITHOUT_AWS, **CREDENTIALS, "AWS_ENDPOINT_URL_BEDROCK": control.url}.items():
        monkeypatch.setenv(name, value)
    return {**ON_THIS_MACHINE, "COACHSTREAM_DATA_DIR": str(tmp_path / "data"), "AWS_REGION": "us-west-2"}


async def checked(
    environment: Mapping[str, str],
    *,
    offline: bool = False,
    call_model: bool = False,
    within_s: float = PATIENCE_S,
) -> Report:
    report = await check(environment, offline=offline, call_model=call_model, within_s=within_s)
    assert not any(secret in str(report) for secret in SECRETS)
    assert "own words" not in str(report)
    return report


def part(report: Report, name: str) -> Finding:
    return next(finding for finding in report.parts if finding.part == name)


# As a command.


def test_everything_that_is_there_is_ok(servers: Elsewhere) -> None:
    """Table, model, keys and index are named with their location; exit status 0, and nothing secret."""
    done = coachstream(
        "check", "--call-model", "--timeout", f"{PATIENCE_S:g}", environment=servers.environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "store: ok (dynamodb)\n" in done.stdout
    assert f"  table: {servers.table}\n" in done.stdout
    assert f"  endpoint: {servers.environment['AWS_ENDPOINT_URL_BEDROCK_RUNTIME']}\n" in done.stdout
    assert "The model generated one token." in done.stdout
    assert "The user pool's keys were read." in done.stdout
    assert "The index can be searched." in done.stdout
    assert "  API key: set\n" in done.stdout
    assert "They come from environment variables." in done.stdout
    for secret in (*SECRETS, servers.environment["PINECONE_API_KEY"]):
        assert secret not in done.stdout + done.stderr


def test_a_program_reads_the_same_as_json(servers: Elsewhere) -> None:
    """One object; the exit status says whether all parts work."""
    without_table = {**servers.environment, "DYNAMODB_TABLE_NAME": "Other"}
    done = coachstream_here("check", "--json", environment=without_table)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ok"] is False
    verdicts = {finding["part"]: finding["verdict"] for finding in report["parts"]}
    assert verdicts == {
        "store": "failed",
        "model": "ok",
        "fallback model": "off",
        "analysis model": "ok",
        "identity": "ok",
        "tickets": "off",
        "recall": "ok",
        "workouts": "off",
        "summaries": "off",
        "titles": "off",
        "turns": "ok",
        "logs": "ok",
        "AWS credentials": "ok",
    }
    assert "coachstream table create --table Other --region us-west-2" in report["parts"][0]["remedy"]


def test_offline_nothing_is_asked_of_anybody(servers: Elsewhere) -> None:
    """The report still shows where each part would connect."""
    with aws_endpoint() as endpoint:
        nowhere = {
            **servers.environment,
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_ENDPOINT_URL_DYNAMODB": endpoint.url,
            "PINECONE_INDEX_HOST": endpoint.url,
        }
        done = coachstream_here("check", "--offline", environment=nowhere)
        assert endpoint.requests == []
    assert done.returncode == 0
    assert "store: skipped (dynamodb)" in done.stdout
    assert f"  endpoint: {endpoint.url}\n" in done.stdout


def test_wrong_settings_are_reported_together_and_nothing_is_tried() -> None:
    """Each names its variable; JSON has them as a list."""
    environment = {**WITHOUT_AWS, "COACHSTREAM_MODEL": "bedrock", "COACHSTREAM_MODEL_MAX_TOKENS": "x"}
    done = coachstream_here("check", environment=environment)
    assert done.returncode == 1
    for name in ("COACHSTREAM_STORE", "COACHSTREAM_IDENTITY", "COACHSTREAM_MODEL_MAX_TOKENS"):
        assert f"  {name} " in done.stdout
    as_json = json.loads(coachstream_here("check", "--json", environment=environment).stdout)
    assert (as_json["ok"], len(as_json["problems"]), as_json["parts"]) == (False, 3, [])


def test_a_misspelled_variable_is_among_the_problems(tmp_path: Path) -> None:
    """`check` fails even if everything else is right."""
    environment = {
        **WITHOUT_AWS,
        **Settings.embedded(tmp_path).to_environment(),
        "COACHSTREAM_TURN_POLCY": "reject",
    }
    as_json = json.loads(coachstream_here("check", "--json", environment=environment).stdout)
    assert as_json["problems"] == [
        "COACHSTREAM_TURN_POLCY is not a variable of coachstream (did you mean COACHSTREAM_TURN_POLICY?)."
    ]
    assert as_json["ok"] is False


def test_the_parts_that_serve_would_run_are_checked_by_the_same_options(tmp_path: Path) -> None:
    """Options have the defaults of `serve`; the environment need not be set."""
    options = ("--model", "bedrock", "--region", "us-west-2", "--recall", "pinecone")
    arguments = ("check", "--offline", "--json", *options, "--data", str(tmp_path))
    as_json = json.loads(coachstream_here(*arguments, environment=WITHOUT_AWS).stdout)
    choices = {part["part"]: part["choice"] for part in as_json["parts"]}
    assert (choices["store"], choices["model"], choices["identity"]) == ("sqlite", "bedrock", "local")
    assert choices["recall"] == "pinecone"
    refused = coachstream_here("check", "--table", "t", environment=WITHOUT_AWS)
    assert (refused.returncode, refused.stderr) == (1, "--table is for --store dynamodb.\n")


def test_serve_and_check_share_the_definitions_of_their_options() -> None:
    """One help text, one type, one name."""
    of_serve, of_check = (signature(command, eval_str=True).parameters for command in (serve, check_command))
    shared = set(of_serve) & set(of_check)
    parts = {"store", "table", "model", "model_id", "recall", "identity", "region", "data"}
    assert shared == {*parts, "json", "timeout"}
    assert all(of_serve[name].annotation == of_check[name].annotation for name in parts)


def test_a_person_at_a_terminal_gets_a_table(tmp_path: Path) -> None:
    """Lines and boxes on a terminal, plain lines elsewhere."""
    environment = {**WITHOUT_AWS, **ON_THIS_MACHINE, "COACHSTREAM_DATA_DIR": str(tmp_path), "COLUMNS": "120"}
    ours, its = pty.openpty()
    try:
        command = [sys.executable, "-m", "coachstream.cli", "check"]
        subprocess.run(
            command, env={**environment, "TERM": "xterm"}, stdout=its, check=True, timeout=PATIENCE_S
        )
        shown = os.read(ours, 65_536).decode()
    finally:
        os.close(its)
        os.close(ours)
    assert "┃" in shown
    assert "Verdict" in shown
    assert "┃" not in coachstream_here("check", environment=environment).stdout


# Single verdicts.


async def test_on_this_machine_there_is_nothing_yet_and_that_is_fine(environment: dict[str, str]) -> None:
    """Files are created when they are needed; a check creates none."""
    report = await checked(environment)
    assert report.ok
    assert "created at the first use" in part(report, "store").message
    assert (
        "`coachstream serve` or `coachstream token` will create the key" in part(report, "identity").message
    )
    assert not Path(environment["COACHSTREAM_DATA_DIR"]).exists()  # noqa: ASYNC240
    assert "AWS credentials" not in {finding.part for finding in report.parts}


async def test_what_serve_made_can_be_used(environment: dict[str, str]) -> None:
    """The databases open, and the key verifies."""
    folder = Path(environment["COACHSTREAM_DATA_DIR"])
    await asyncio.to_thread(LocalIssuer(folder).ensure_keys)
    database = folder / "conversations.db"
    sqlite3.connect(database).execute("CREATE TABLE t (x)").connection.close()
    report = await checked(environment)
    assert "It can be opened, and has 1 tables." in part(report, "store").message
    assert part(report, "identity").message == "The local issuer's keys exist."


async def test_a_file_that_is_no_database_is_named(environment: dict[str, str]) -> None:
    """Nothing is deleted; the user decides."""
    folder = Path(environment["COACHSTREAM_DATA_DIR"])
    folder.mkdir()  # noqa: ASYNC240
    (folder / "conversations.db").write_text("no database, " * 100)
    (folder / "jwks.json").write_text("no keys")
    report = await checked(environment)
    assert not report.ok
    assert "is not a database" in part(report, "store").message
    assert "not a JWKS document" in part(report, "identity").message


async def test_a_folder_that_cannot_be_made_is_named(environment: dict[str, str]) -> None:
    """A file cannot contain a folder."""
    report = await checked({**environment, "COACHSTREAM_DATA_DIR": "/proc/version/x"})
    assert "cannot be created" in part(report, "store").message
    assert "COACHSTREAM_DATA_DIR" in str(part(report, "store").remedy)


@pytest.mark.parametrize(
    ("status", "code", "message", "remedy"),
    [
        (
            400,
            "ResourceNotFoundException",
            "no table Items in us-west-2",
            "coachstream table create --table Items",
        ),
        (400, "ValidationException", "does not have the keys pk and sk", "Set the coaches' table"),
        (400, "AccessDeniedException", "dynamodb:GetItem is not allowed", "Allow dynamodb:GetItem"),
        (400, "UnrecognizedClientException", "credentials are not valid", "AWS_PROFILE"),
        (400, "ExpiredTokenException", "credentials have expired", "aws sso login"),
        (400, "LimitExceededException", "failed with LimitExceededException (status 400)", "Try again"),
        (200, "", "a write succeeded although its condition failed", "not DynamoDB"),
    ],
)
async def test_a_table_that_cannot_be_used_says_why(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    message: str,
    remedy: str,
) -> None:
    """Each of DynamoDB's error responses has its own message and remedy."""
    with aws_endpoint(status=status, code=code) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint.url)
        found = part(await checked({**environment, **IN_DYNAMODB}), "store")
    assert found.verdict is Verdict.FAILED
    assert message.lower() in found.message.lower()
    assert remedy in str(found.remedy)
    assert found.facts["endpoint"] == endpoint.url


@pytest.mark.parametrize(
    ("status", "code", "message", "remedy"),
    [
        (404, "ResourceNotFoundException", "there is no such model", "COACHSTREAM_MODEL_REGION"),
        (403, "AccessDeniedException", "this account has no access to the model", "Bedrock console"),
        (400, "ValidationException", "does not accept a request", "inference profile"),
        (429, "ThrottlingException", "the quota is exceeded", "in a minute"),
        (403, "UnrecognizedClientException", "credentials are not valid", "AWS_PROFILE"),
    ],
)
async def test_a_model_that_cannot_be_called_says_why(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    message: str,
    remedy: str,
) -> None:
    """Each of Bedrock's error responses has its own message and remedy."""
    with aws_endpoint(status=status, code=code) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", endpoint.url)
        found = part(await checked({**environment, **BY_BEDROCK}, call_model=True), "model")
    assert found.verdict is Verdict.FAILED
    assert message in found.message
    assert remedy in str(found.remedy)


SOON = (today() + timedelta(days=90)).isoformat()
LATER = (today() + timedelta(days=400)).isoformat()
PAST = (today() - timedelta(days=30)).isoformat()


def chosen(model_id: str) -> dict[str, str]:
    return {**BY_BEDROCK, "COACHSTREAM_MODEL_ID": model_id}


LIFECYCLES: dict[str, tuple[dict[str, Any], Verdict, str, str]] = {
    "active": (active(), Verdict.OK, "It is active, according to Bedrock.", ""),
    "active for long": (
        active(endOfLifeTime=f"{LATER}T00:00:00Z"),
        Verdict.OK,
        f"It is active and ends on {LATER}, according to Bedrock.",
        "",
    ),
    "active and soon over": (
        active(endOfLifeTime=f"{SOON}T00:00:00Z"),
        Verdict.WARNING,
        f"It is active and ends on {SOON}, according to Bedrock.",
        "Try another model with your prompts",
    ),
    "Legacy": (
        legacy(legacyTime=f"{PAST}T00:00:00Z", endOfLifeTime=f"{LATER}T00:00:00Z"),
        Verdict.WARNING,
        f"It is Legacy and ends on {LATER}, according to Bedrock",
        "Try another model with your prompts",
    ),
    "Legacy without a date": (
        legacy(),
        Verdict.WARNING,
        "It is Legacy, according to Bedrock",
        "an active model",
    ),
    "ended": (
        legacy(endOfLifeTime=f"{PAST}T00:00:00Z"),
        Verdict.FAILED,
        f"It reached its end of life on {PAST}, according to Bedrock.",
        "COACHSTREAM_MODEL_ID",
    ),
    "without streams": (
        {**active(), "responseStreamingSupported": False},
        Verdict.FAILED,
        "cannot be called by the Converse API",
        "ConverseStream",
    ),
}


@pytest.mark.parametrize("lifecycle", LIFECYCLES)
async def test_bedrock_is_asked_how_long_a_model_can_be_called(
    environment: dict[str, str], control: BedrockControl, monkeypatch: pytest.MonkeyPatch, lifecycle: str
) -> None:
    """Months before its end there is a warning, which fails no check; the profile leads to the model."""
    details, verdict, message, remedy = LIFECYCLES[lifecycle]
    control.add("maker.model-of-next-year-v1:0", details)
    with aws_endpoint(status=400, code="ValidationException") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", endpoint.url)
        report = await checked({**environment, **chosen("us.maker.model-of-next-year-v1:0")})
    found = part(report, "model")
    assert found.verdict is verdict
    assert message in found.message
    assert remedy in str(found.remedy or "")
    assert report.ok is (verdict is not Verdict.FAILED)
    assert control.requests == [
        "/inference-profiles/us.maker.model-of-next-year-v1%3A0",
        "/foundation-models/maker.model-of-next-year-v1%3A0",
    ]


@pytest.mark.parametrize(
    ("model_id", "message", "remedy"),
    [
        ("eu.anthropic.claude-sonnet-4-6", "no such model or inference profile in this region", "AWS_REGION"),
        (DEFAULT, "called through an inference profile only", "`us.`"),
        ("anthropic.claude-9", "no such model or inference profile in this region", "AWS_REGION"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "end of life on 2026-10-14", "an active model"),
    ],
)
async def test_a_model_that_bedrock_does_not_list_here_is_named(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    model_id: str,
    message: str,
    remedy: str,
) -> None:
    """In another region, without its profile, or past its end of life, when it is no longer listed."""
    with aws_endpoint(status=400, code="ValidationException") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", endpoint.url)
        found = part(await checked({**environment, **chosen(model_id)}), "model")
    assert found.verdict is Verdict.FAILED
    assert message.lower() in found.message.lower()
    assert remedy in str(found.remedy)


@pytest.mark.parametrize(
    ("model_id", "verdict", "message"),
    [
        ("us.anthropic.claude-sonnet-4-6", Verdict.OK, "It is active, according to the table of 2026-11-27."),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", Verdict.FAILED, "end of life on 2026-10-14"),
        ("us.maker.model-of-next-year-v1:0", Verdict.OK, "It is not in the table of this version"),
    ],
)
async def test_without_the_permission_the_table_says_what_it_knows(
    environment: dict[str, str],
    control: BedrockControl,
    monkeypatch: pytest.MonkeyPatch,
    model_id: str,
    verdict: Verdict,
    message: str,
) -> None:
    """The report says that Bedrock could not be asked; this is no failure."""
    control.refusal = (403, "AccessDeniedException")
    with aws_endpoint(status=400, code="ValidationException") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", endpoint.url)
        found = part(await checked({**environment, **chosen(model_id)}), "model")
    assert found.verdict is verdict
    assert "bedrock:GetInferenceProfile is not allowed" in found.message
    assert message in found.message


async def test_offline_a_model_that_has_ended_is_known_from_the_table(environment: dict[str, str]) -> None:
    """It fails without a request; other models show the table's information."""
    ended = chosen("us.anthropic.claude-sonnet-4-20250514-v1:0")
    found = part(await checked({**environment, **ended}, offline=True), "model")
    assert found.verdict is Verdict.FAILED
    assert "end of life on 2026-10-14" in found.message
    other = part(await checked({**environment, **BY_BEDROCK}, offline=True), "model")
    assert other.verdict is Verdict.SKIPPED
    assert "It is active, according to the table of 2026-11-27." in other.message


async def test_a_model_that_responds_is_usable_whatever_the_table_says(
    environment: dict[str, str], servers: Elsewhere, control: BedrockControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dates may differ between partitions; a reply is better evidence, but the date is still shown."""
    control.refusal = (403, "AccessDeniedException")
    monkeypatch.setenv(
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", servers.environment["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]
    )
    model = chosen("us.anthropic.claude-sonnet-4-20250514-v1:0")
    found = part(await checked({**environment, **model}, call_model=True), "model")
    assert found.verdict is Verdict.WARNING
    assert "The model generated one token." in found.message
    assert "2026-10-14" in found.message


async def test_unless_it_is_asked_for_the_model_writes_nothing(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that Bedrock rejects proves that it is reachable; the report says what remains unproven."""
    with aws_endpoint(status=400, code="ValidationException") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", endpoint.url)
        found = part(await checked({**environment, **BY_BEDROCK}), "model")
    assert found.verdict is Verdict.OK
    assert "Only --call-model checks" in found.message
    assert len(endpoint.requests) == 1


async def test_a_fallback_is_tried_as_the_model_is(
    environment: dict[str, str], servers: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its region, and whether it continues partial replies; off if the model itself is retried."""
    monkeypatch.setenv(
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", servers.environment["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]
    )
    haiku = {"COACHSTREAM_MODEL_ID": "us.anthropic.claude-haiku-4-5-20251001-v1:0"}
    alone = await checked({**environment, **BY_BEDROCK, **haiku}, call_model=True)
    assert part(alone, "fallback model").verdict is Verdict.OFF
    assert part(alone, "model").facts["continues"] == "a partial reply"
    fallback = {
        "COACHSTREAM_FALLBACK_MODEL_ID": "us.anthropic.claude-sonnet-4-6",
        "COACHSTREAM_FALLBACK_REGION": "us-east-1",
    }
    found = part(await checked({**environment, **BY_BEDROCK, **fallback}, call_model=True), "fallback model")
    assert found.verdict is Verdict.OK
    assert found.message.startswith("The model generated one token. It is active, according to Bedrock.")
    assert found.facts["region"] == "us-east-1"
    assert found.facts["model id"] == "us.anthropic.claude-sonnet-4-6"
    assert found.facts["continues"] == "no, starts the reply again"


async def test_the_analysis_model_is_tried_as_the_model_is(
    environment: dict[str, str], control: BedrockControl, servers: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default one, another one, or none."""
    monkeypatch.setenv(
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", servers.environment["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]
    )
    control.add("amazon.nova-2-lite-v1:0")
    by_default = {**environment, "COACHSTREAM_MODEL": "bedrock"}
    found = part(await checked(by_default, call_model=True), "analysis model")
    assert found.verdict is Verdict.OK
    assert found.facts["model id"] == "us.amazon.nova-2-lite-v1:0"
    ended = {**by_default, "COACHSTREAM_ANALYSIS_MODEL_ID": "anthropic.claude-3-haiku-20240307-v1:0"}
    found = part(await checked(ended, offline=True), "analysis model")
    assert found.verdict is Verdict.FAILED
    assert "COACHSTREAM_ANALYSIS_MODEL_ID" in str(found.remedy)
    off = part(await checked({**environment, **BY_BEDROCK}), "analysis model")
    assert off.verdict is Verdict.OFF


async def test_a_summary_model_of_its_own_is_checked_like_the_others(environment: dict[str, str]) -> None:
    """One that is also the model of the analysis, or of the replies, is checked once."""
    by_default = {**environment, "COACHSTREAM_MODEL": "bedrock"}
    assert "summary model" not in {found.part for found in (await checked(by_default, offline=True)).parts}
    ended = {**by_default, "COACHSTREAM_SUMMARY_MODEL_ID": "anthropic.claude-3-haiku-20240307-v1:0"}
    found = part(await checked(ended, offline=True), "summary model")
    assert found.verdict is Verdict.FAILED
    assert "COACHSTREAM_SUMMARY_MODEL_ID" in str(found.remedy)


@pytest.mark.parametrize(
    ("fallback", "variable"),
    [
        ({"COACHSTREAM_FALLBACK_MODEL_ID": "other"}, "COACHSTREAM_FALLBACK_MODEL_ID"),
        ({"COACHSTREAM_FALLBACK_REGION": "us-east-1"}, "COACHSTREAM_MODEL_ID"),
    ],
)
async def test_a_fallback_that_cannot_be_called_names_its_variable(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, fallback: dict[str, str], variable: str
) -> None:
    """The remedy names the variable that selects the model."""
    with aws_endpoint(status=404, code="ResourceNotFoundException") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", endpoint.url)
        found = part(await checked({**environment, **BY_BEDROCK, **fallback}), "fallback model")
    assert found.verdict is Verdict.FAILED
    assert str(found.remedy).endswith(f"It is set by {variable}.")


async def test_tickets_are_issued_with_the_key_that_is_set(environment: dict[str, str]) -> None:
    """The key is not shown; a local key is created on first use, not by a check."""
    key = "hunter2-open-sesame".ljust(32, "!")
    found = part(await checked({**environment, "COACHSTREAM_TICKET_KEY": key}), "tickets")
    assert (found.verdict, found.message) == (Verdict.OK, "Tickets are issued and verified.")
    local = part(await checked(environment), "tickets")
    assert local.message == "The key will be created at the first use."
    path = Path(local.facts["key"])
    assert not path.exists()  # noqa: ASYNC240
    path.parent.mkdir()
    path.write_bytes(b"x" * 32)  # noqa: ASYNC240
    assert part(await checked(environment), "tickets").message == "Tickets are issued and verified."
    path.write_bytes(b"short")  # noqa: ASYNC240
    damaged = part(await checked(environment), "tickets")
    assert damaged.verdict is Verdict.FAILED
    assert "holds no key" in damaged.message


async def test_without_a_key_there_are_no_tickets(environment: dict[str, str]) -> None:
    """This is a valid choice, not a failure."""
    cognito = {
        "COACHSTREAM_IDENTITY": "cognito",
        "USER_POOL_ID": "us-west-2_aBcDeFgHi",
        "APP_CLIENT_ID": "web",
    }
    found = part(await checked({**environment, **cognito}, offline=True), "tickets")
    assert found.verdict is Verdict.OFF
    assert "COACHSTREAM_TICKET_KEY_SECRET_ARN" in found.message


def kept_secret(moto_url: str, value: str) -> str:
    """Create a secret and return its ARN."""
    client: Any = botocore.session.Session().create_client(
        "secretsmanager", region_name="us-west-2", endpoint_url=moto_url
    )
    arn: str = client.create_secret(Name=uuid.uuid4().hex, SecretString=value)["ARN"]
    client.close()
    return arn


async def test_keys_in_secrets_manager_are_tried(
    environment: dict[str, str], servers: Elsewhere, monkeypatch: pytest.MonkeyPatch, moto_url: str
) -> None:
    """Pinecone accepts its key, the other is long enough, and only the ARNs are shown."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto_url)
    tickets = await asyncio.to_thread(kept_secret, moto_url, "hunter2-open-sesame".ljust(32, "!"))
    pinecone = await asyncio.to_thread(kept_secret, moto_url, servers.environment["PINECONE_API_KEY"])
    kept = {
        "COACHSTREAM_TICKET_KEY_SECRET_ARN": tickets,
        "COACHSTREAM_RECALL": "pinecone",
        "PINECONE_API_KEY_SECRET_ARN": pinecone,
        "PINECONE_INDEX_HOST": servers.environment["PINECONE_INDEX_HOST"],
    }
    report = await checked({**environment, **kept})
    assert report.ok
    assert part(report, "tickets").facts == {"key": tickets}
    assert part(report, "tickets").message == "Tickets are issued and verified."
    assert part(report, "recall").facts["API key"] == pinecone
    assert part(report, "recall").message == "The index can be searched."
    assert part(report, "AWS credentials").verdict is Verdict.OK


async def test_a_key_in_secrets_manager_may_be_too_short(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, moto_url: str
) -> None:
    """The check reveals it to the person who stored it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto_url)
    arn = await asyncio.to_thread(kept_secret, moto_url, "sesame")
    found = part(await checked({**environment, "COACHSTREAM_TICKET_KEY_SECRET_ARN": arn}), "tickets")
    assert found.verdict is Verdict.FAILED
    assert "shorter than 32 bytes" in found.message
    assert "COACHSTREAM_TICKET_KEY_SECRET_ARN" in str(found.remedy)


@pytest.mark.parametrize(
    ("code", "message", "remedy"),
    [
        ("ResourceNotFoundException", "no secret with this ARN in eu-west-1", "SECRET_ARN"),
        (
            "AccessDeniedException",
            "secretsmanager:GetSecretValue is not allowed",
            "Allow secretsmanager:GetSecretValue",
        ),
        ("UnrecognizedClientException", "credentials are not valid", "AWS_PROFILE"),
        ("DecryptionFailure", "cannot be read (DecryptionFailure)", "SECRET_ARN"),
    ],
)
async def test_a_secret_that_cannot_be_read_says_why(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, code: str, message: str, remedy: str
) -> None:
    """Each of Secrets Manager's error responses, for both keys."""
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:coach-a1B2c3"
    kept = {
        "COACHSTREAM_TICKET_KEY_SECRET_ARN": arn,
        "COACHSTREAM_RECALL": "pinecone",
        "PINECONE_API_KEY_SECRET_ARN": arn,
        "PINECONE_INDEX_HOST": "index.example",
    }
    with aws_endpoint(status=400, code=code) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint.url)
        report = await checked({**environment, **kept})
    for name in ("tickets", "recall"):
        assert part(report, name).verdict is Verdict.FAILED
        assert message in part(report, name).message
        assert remedy in str(part(report, name).remedy)


async def test_what_is_set_of_turns_is_shown(environment: dict[str, str]) -> None:
    """There is nothing to try."""
    chosen = {"COACHSTREAM_TURN_POLICY": "interrupt", "COACHSTREAM_LEASE_S": "20"}
    found = part(await checked({**environment, **chosen}), "turns")
    assert found.facts == {"a second message": "interrupt", "lease": "20 s"}


@pytest.mark.parametrize(
    ("status", "code", "verdict", "words"),
    [
        (204, "", Verdict.OK, "the function did not run"),
        (404, "ResourceNotFoundException", Verdict.FAILED, "no function build-workout in us-west-2"),
        (403, "AccessDeniedException", Verdict.FAILED, "lambda:InvokeFunction is not allowed"),
        (500, "ServiceException", Verdict.FAILED, "ServiceException (status 500)"),
    ],
)
async def test_a_function_is_tried_without_running_it(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    verdict: Verdict,
    words: str,
) -> None:
    """This uses Lambda's dry run."""
    with aws_endpoint(status=status, code=code) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", endpoint.url)
        found = part(await checked({**environment, **HANDED_OFF}), "workouts")
    assert found.verdict is verdict
    assert words in found.message
    assert endpoint.requests[0].endswith("/functions/build-workout/invocations")


async def test_a_silent_service_times_out(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts are checked concurrently, each with its own timeout."""
    with aws_endpoint(silent=True) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
        report = await checked({**environment, **IN_DYNAMODB, **BY_BEDROCK, **HANDED_OFF}, within_s=0.5)
        for name in ("store", "model", "workouts"):
            assert part(report, name).message == "There was no response within 0.5 s."
            assert "--timeout" in str(part(report, name).remedy)


async def test_an_unreachable_service_is_named_with_its_url(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server listens on port 1."""
    nowhere = "http://127.0.0.1:1"
    monkeypatch.setenv("AWS_ENDPOINT_URL", nowhere)
    everything = {
        **environment,
        **IN_DYNAMODB,
        **BY_BEDROCK,
        **HANDED_OFF,
        "COACHSTREAM_IDENTITY": "cognito",
        "USER_POOL_ID": "us-west-2_aBcDeFgHi",
        "APP_CLIENT_ID": "web",
        "AWS_ENDPOINT_URL": nowhere,
        "COACHSTREAM_RECALL": "pinecone",
        "PINECONE_API_KEY": "open-sesame",
        "PINECONE_INDEX_HOST": nowhere,
    }
    report = await checked(everything)
    for name in ("store", "model", "workouts"):
        assert part(report, name).message.startswith(f"{nowhere} cannot be reached")
    assert "Connection refused" in part(report, "identity").message
    assert "USER_POOL_ID" in str(part(report, "identity").remedy)
    assert "no connection" in part(report, "recall").message
    assert "PINECONE_INDEX_HOST" in str(part(report, "recall").remedy)


async def test_a_key_that_pinecone_does_not_know_is_the_keys_fault(
    environment: dict[str, str], servers: Elsewhere
) -> None:
    """The remedy follows from the status."""
    index = {
        "COACHSTREAM_RECALL": "pinecone",
        "PINECONE_API_KEY": "open-sesame",
        "PINECONE_INDEX_HOST": servers.environment["PINECONE_INDEX_HOST"],
    }
    found = part(await checked({**environment, **index}), "recall")
    assert found.verdict is Verdict.FAILED
    assert "status 401" in found.message
    assert "PINECONE_API_KEY" in str(found.remedy)


async def test_recall_without_a_key_is_off(environment: dict[str, str]) -> None:
    """It is no failure: the coach replies without recall."""
    report = await checked({**environment, "COACHSTREAM_RECALL": "pinecone"})
    assert report.ok
    assert part(report, "recall").verdict is Verdict.OFF
    assert part(report, "recall").message == "PINECONE_API_KEY is not set."


def test_without_region_and_credentials_both_are_asked_for(tmp_path: Path) -> None:
    """A new machine lacks these first."""
    fresh = {**WITHOUT_AWS, **ON_THIS_MACHINE, **IN_DYNAMODB, "COACHSTREAM_DATA_DIR": str(tmp_path)}
    without_region = coachstream("check", environment=fresh).stdout
    assert "  region: not set\n" in without_region
    assert "No region is set.\n  -> Set AWS_REGION." in without_region
    assert "AWS credentials: failed" in without_region
    without_credentials = coachstream("check", environment={**fresh, "AWS_REGION": "us-west-2"})
    assert without_credentials.returncode == 1
    assert (
        "There are no AWS credentials (NoCredentialsError).\n  -> Set AWS_PROFILE"
        in without_credentials.stdout
    )


async def test_a_profile_that_does_not_exist_is_named(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typing error in AWS_PROFILE."""
    monkeypatch.setenv("AWS_PROFILE", "coahc")
    report = await checked({**environment, **IN_DYNAMODB})
    assert "AWS_PROFILE" in part(report, "store").message
    assert part(report, "AWS credentials").verdict is Verdict.FAILED


async def test_packaged_keys_are_compared_with_the_pools(environment: dict[str, str], tmp_path: Path) -> None:
    """Equal, outdated by a rotation, or a file with which no function starts."""
    pool = SigningPool()
    async with key_server() as server:
        server.answers = [document(pool.jwks())]
        deployed = {
            **environment,
            **cognito_environment(tmp_path, server.url),
            **package_keys(tmp_path, pool),
        }
        found = part(await checked(deployed), "identity")
        assert (found.verdict, found.facts["packaged keys"]) == ("ok", deployed["COACHSTREAM_JWKS_FILE"])
        assert "the packaged ones are the same" in found.message
        pool.key_numbers = [1, 2]
        server.answers = [document(pool.jwks())]
        found = part(await checked(deployed), "identity")
        assert (found.verdict, "cold starts fetch the keys" in found.message) == ("ok", True)
        deployed |= package_keys(tmp_path, pool, issuer="https://issuer.example")
        found = part(await checked(deployed), "identity")
        assert found.verdict == "failed"
        assert "holds the keys of https://issuer.example" in found.message
        assert "COACHSTREAM_JWKS_FILE" in str(found.remedy)
