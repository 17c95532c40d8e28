"""The composition root: settings become adapters, each created on first use, and all are closed."""

from __future__ import annotations

import logging
import subprocess
import sys
import uuid
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.aws.clients import AwsSession, Connection
from coachstream.aws.secrets import Secrets
from coachstream.conversation.errors import InvalidTicket, StorageUnavailable, TicketsUnavailable
from coachstream.conversation.model import ConversationKey
from coachstream.freshness import REREAD_AT_MOST_EVERY_S, AgeClock
from coachstream.hand_off.lambda_functions import LambdaSummaryBuilder, LambdaWorkoutBuilder
from coachstream.hand_off.post_turn import LambdaPostTurn, LocalPostTurn
from coachstream.hand_off.training_log import TrainingLog
from coachstream.identity.keys import KeysUnavailable
from coachstream.language.bedrock import BedrockModel, BedrockOptions, BedrockWholeReply
from coachstream.language.bedrock.summarizer import BedrockSummarizer
from coachstream.language.demo import DemoModel
from coachstream.language.demo.analysis import RuleAnalyser
from coachstream.language.demo.summarizer import RuleSummarizer
from coachstream.recall.pinecone import PineconeOptions, PineconeRecall
from coachstream.recall.sqlite import SqliteRecall
from coachstream.services import Services, bedrock_options, fallback_options, pinecone_options
from coachstream.settings import (
    BedrockSettings,
    CognitoSettings,
    Fallback,
    Guardrail,
    GuardrailMode,
    HandOffs,
    PineconeSettings,
    RecallOff,
    Secret,
    Settings,
    SettingsError,
    SqliteRecallSettings,
)
from coachstream.storage.dynamodb import DynamoDbStore
from coachstream.storage.sqlite import SqliteStore

AT_AWS = {
    "COACHSTREAM_STORE": "dynamodb",
    "DYNAMODB_TABLE_NAME": "All-Items",
    "COACHSTREAM_MODEL": "bedrock",
    "COACHSTREAM_IDENTITY": "cognito",
    "USER_POOL_ID": "us-west-2_aBcDeFgHi",
    "APP_CLIENT_ID": "web",
    "COACHSTREAM_RECALL": "pinecone",
    "PINECONE_API_KEY": "pcsk-open-sesame",
    "PINECONE_INDEX_HOST": "index.example",
    "BUILD_WORKOUT_FUNCTION_NAME": "build-workout",
    "BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME": "build-summary",
    "AWS_REGION": "us-west-2",
}
CONVERSATION = ConversationKey("user-1", "coach-1", "conv-1")
OPENED_LAZILY = ("aiobotocore", "botocore", "pinecone", "sqlite3", "jwt", "cryptography", "httpx")


async def test_everything_on_this_machine(tmp_path: Path) -> None:
    """The demo model serves both functions; what follows a turn is done here, and there are no hand-offs."""
    settings = msgspec.structs.replace(Settings.embedded(tmp_path), recall=SqliteRecallSettings(tmp_path))
    async with aclosing(Services(settings)) as services:
        assert isinstance(services.store, SqliteStore)
        assert isinstance(services.model, DemoModel)
        assert services.whole_reply_model is services.model
        assert services.fallback_model is services.model
        assert isinstance(services.recall, SqliteRecall)
        assert isinstance(services.analyser, RuleAnalyser)
        assert isinstance(services.workout_builder, TrainingLog)
        assert isinstance(services.summarizer, RuleSummarizer)
        assert isinstance(services.summary_builder, LocalPostTurn)
        assert services.title_builder is services.summary_builder


async def test_everything_elsewhere() -> None:
    """Each part is the real one, whole replies have their own model, and all share one session."""
    async with aclosing(Services(Settings.from_environment(AT_AWS))) as services:
        assert isinstance(services.store, DynamoDbStore)
        assert isinstance(services.model, BedrockModel)
        assert isinstance(services.whole_reply_model, BedrockWholeReply)
        assert isinstance(services.recall, PineconeRecall)
        assert isinstance(services.workout_builder, LambdaWorkoutBuilder)
        assert isinstance(services.summary_builder, LambdaSummaryBuilder)
        assert services.model.display_name == "claude-sonnet-4-6"
        assert services.fallback_model is services.model
        assert services.store is services.store
        assert services.verifier is services.verifier


@pytest.mark.parametrize(
    ("named", "summaries", "titles"),
    [
        ({}, None, None),
        ({"COACHSTREAM_POST_TURN_FUNCTION_NAME": "ours"}, LambdaPostTurn, LambdaPostTurn),
        ({"BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME": "theirs"}, LambdaSummaryBuilder, None),
        (
            {
                "COACHSTREAM_POST_TURN_FUNCTION_NAME": "ours",
                "BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME": "theirs",
            },
            LambdaSummaryBuilder,
            LambdaPostTurn,
        ),
    ],
)
async def test_the_existing_system_s_function_goes_before_our_own(
    named: dict[str, str], summaries: type | None, titles: type | None
) -> None:
    """For summaries; it writes no titles. Without either, a store that others share gets neither."""
    others = {name: value for name, value in AT_AWS.items() if not name.startswith("BUILD_CONVERSATION")}
    async with aclosing(Services(Settings.from_environment({**others, **named}))) as services:
        found = services.summary_builder, services.title_builder
    assert [None if each is None else type(each) for each in found] == [summaries, titles]


@pytest.mark.parametrize("named", [{}, {"COACHSTREAM_POST_TURN_FUNCTION_NAME": "ours"}])
async def test_a_function_goes_before_this_process(tmp_path: Path, named: dict[str, str]) -> None:
    """Also on a person's machine."""
    here = {
        "COACHSTREAM_STORE": "sqlite",
        "COACHSTREAM_MODEL": "bedrock",
        "COACHSTREAM_IDENTITY": "local",
        "COACHSTREAM_DATA_DIR": str(tmp_path),
        "AWS_REGION": "us-west-2",
    }
    async with aclosing(Services(Settings.from_environment({**here, **named}))) as services:
        assert type(services.title_builder) is (LambdaPostTurn if named else LocalPostTurn)
        assert isinstance(services.summarizer, BedrockSummarizer)


@pytest.mark.parametrize(
    ("model_id", "analysis", "summaries", "expected"),
    [
        ("us.anthropic.claude-sonnet-4-6", "", "", "us.amazon.nova-2-lite-v1:0"),
        ("us.anthropic.claude-sonnet-4-6", "", "own.model", "own.model"),
        ("us.anthropic.claude-sonnet-4-6", "off", "", "us.anthropic.claude-sonnet-4-6"),
        ("amazon.nova-pro-v1:0", "", "", "amazon.nova-pro-v1:0"),
        ("amazon.nova-pro-v1:0", "other.model", "", "other.model"),
    ],
)
def test_summaries_have_the_model_of_the_analysis_unless_they_have_their_own(
    model_id: str, analysis: str, summaries: str, expected: str
) -> None:
    """The model of the replies, if nothing analyses messages."""
    environment = {
        **AT_AWS,
        "COACHSTREAM_MODEL_ID": model_id,
        "COACHSTREAM_ANALYSIS_MODEL_ID": analysis,
        "COACHSTREAM_SUMMARY_MODEL_ID": summaries,
    }
    model = Settings.from_environment(environment).model
    assert isinstance(model, BedrockSettings)
    assert model.summary_model == expected


def test_messages_are_analysed_by_a_model_unless_that_is_off() -> None:
    """What is off is not even imported."""
    script = (
        "import sys\n"
        "from coachstream.services import Services\n"
        "from coachstream.settings import Settings\n"
        f"services = Services(Settings.from_environment({AT_AWS!r} | {{}}))\n"
        "print(type(services.analyser).__name__, 'coachstream.language.bedrock.analysis' in sys.modules)\n"
    )
    for named, expected in (("", "BedrockAnalyser True"), ("off", "NoneType False")):
        chosen = script.replace("{}", repr({"COACHSTREAM_ANALYSIS_MODEL_ID": named}))
        shown = subprocess.run([sys.executable, "-c", chosen], capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == expected


def test_making_the_services_imports_nothing_heavy() -> None:
    """Heavy modules are imported after the first byte, and only those that a request needs."""
    script = (
        "import sys\n"
        "from coachstream.services import Services\n"
        "from coachstream.settings import Settings\n"
        f"services = Services(Settings.from_environment({AT_AWS!r}))\n"
        "services.verifier, services.store, services.model, services.recall, services.workout_builder\n"
        "services.fallback_model, services.tickets, services.secrets, services.analyser\n"
        "services.summary_builder, services.title_builder, services.post_turn\n"
        f"print(sorted(set({OPENED_LAZILY!r}) & set(sys.modules)))\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


async def test_recall_that_is_off_for_lack_of_a_key_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once per process, and not at all if recall was not requested."""
    caplog.set_level(logging.INFO)
    asked = msgspec.structs.replace(Settings.embedded(tmp_path), recall=RecallOff(is_key_missing=True))
    services = Services(asked)
    assert services.recall is services.recall is None
    assert Services(Settings.embedded(tmp_path)).recall is None
    assert caplog.messages == ["Recall is off: PINECONE_API_KEY is not set."]


def test_a_misspelled_variable_is_one_warning_on_lambda_and_breaks_nothing(tmp_path: Path) -> None:
    """The functions start and serve; one log line names the variable that was probably meant."""
    script = (
        "import asyncio\nfrom coachstream.services import services_of_this_process as services\n"
        "async def main(): services(); services(); print('serving')\nasyncio.run(main())"
    )
    environment = {
        **Settings.embedded(tmp_path).to_environment(),
        "COACHSTREAM_LEASE": "20",
        "COACHSTREAM_COLOR": "open-sesame",
    }
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    shown = ran.stdout + ran.stderr
    assert shown.count("serving") == 1
    assert shown.count("WARNING") == 1
    assert "COACHSTREAM_COLOR is not a variable of coachstream; COACHSTREAM_LEASE is not" in shown
    assert "(did you mean COACHSTREAM_LEASE_S?)" in shown
    assert "open-sesame" not in shown


async def test_what_was_opened_is_closed_and_the_rest_is_not_opened_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Closing twice is harmless; a client that was never used is not created."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    services = Services(Settings.from_environment(AT_AWS))
    await services.aclose()
    assert set(vars(services)) == {"settings", "running_turns"}
    client = await services.dynamodb()
    store = services.store
    await services.aclose()
    await services.aclose()
    assert await services.dynamodb() is not client
    assert services.store is not store
    await services.aclose()


async def test_the_model_has_a_region_of_its_own_or_that_of_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model may be in another region than the table."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    by_sdk = {**AT_AWS, "COACHSTREAM_AWS_SDK_CALLS": "true"}
    own = {**by_sdk, "COACHSTREAM_MODEL_REGION": "eu-central-1"}
    for environment, region in ((by_sdk, "us-west-2"), (own, "eu-central-1")):
        async with aclosing(Services(Settings.from_environment(environment))) as services:
            model: Any = await services.bedrock_runtime()
            store: Any = await services.dynamodb()
            assert model.meta.region_name == region
            assert store.meta.region_name == "us-west-2"
            # Only the model's own attempts may retry, and only its own clock may time out.
            config = model.meta.config
            assert config.retries["total_max_attempts"] == 1
            assert config.read_timeout >= 300


@pytest.mark.parametrize(
    ("variables", "name", "region", "can_continue"),
    [
        ({"COACHSTREAM_FALLBACK_MODEL_ID": "us.amazon.nova-pro-v1:0"}, "nova-pro", "us-west-2", False),
        ({"COACHSTREAM_FALLBACK_REGION": "us-east-1"}, "claude-sonnet-4-6", "us-east-1", False),
        (
            {
                "COACHSTREAM_FALLBACK_MODEL_ID": "anthropic.claude-3-haiku-20240307-v1:0",
                "COACHSTREAM_FALLBACK_REGION": "us-east-1",
            },
            "claude-3-haiku",
            "us-east-1",
            True,
        ),
    ],
)
@pytest.mark.usefixtures("aws_credentials")
async def test_the_fallback_is_a_model_of_its_own(
    variables: dict[str, str], name: str, region: str, can_continue: bool
) -> None:
    """Another model, the same one in another region, or both; its client is closed with the others."""
    by_sdk = {"COACHSTREAM_AWS_SDK_CALLS": "true"}
    services = Services(Settings.from_environment({**AT_AWS, **by_sdk, **variables}))
    model = services.fallback_model
    assert isinstance(model, BedrockModel)
    assert model is services.fallback_model is not services.model
    assert (model.display_name, model.can_continue) == (name, can_continue)
    client: Any = await services.fallback_bedrock_runtime()
    assert client.meta.region_name == region
    assert (client is await services.bedrock_runtime()) is (region == "us-west-2")
    await services.aclose()
    assert await services.fallback_bedrock_runtime() is not client
    await services.aclose()


def test_the_fallback_is_asked_as_the_model_is_but_continues_as_it_can() -> None:
    """The setting whether a model continues partial replies does not apply to another model."""
    chosen = BedrockSettings("my-profile", max_tokens=5, guardrail=Guardrail("g"), can_continue=True)
    elsewhere = msgspec.structs.replace(chosen, fallback=Fallback(region="us-east-1"))
    assert fallback_options(elsewhere) == bedrock_options(chosen)
    other = msgspec.structs.replace(chosen, fallback=Fallback("other-profile"))
    assert fallback_options(other) == msgspec.structs.replace(
        bedrock_options(chosen), model_id="other-profile", continues=None
    )


async def test_tickets_are_signed_with_the_key_that_is_set(tmp_path: Path) -> None:
    """All instances share it; a local key is created, and elsewhere there are no tickets without one."""
    with_key = {"COACHSTREAM_TICKET_KEY": "open-sesame".ljust(32, "!")}
    one, other = (Services(Settings.from_environment({**AT_AWS, **with_key})) for _ in range(2))
    await other.tickets.verify(await one.tickets.issue(CONVERSATION, "run_1"), CONVERSATION, "run_1")
    local = Services(Settings.embedded(tmp_path))
    ticket = await local.tickets.issue(CONVERSATION, "run_1")
    await Services(Settings.embedded(tmp_path)).tickets.verify(ticket, CONVERSATION, "run_1")
    with pytest.raises(InvalidTicket):
        await one.tickets.verify(ticket, CONVERSATION, "run_1")
    with pytest.raises(TicketsUnavailable):
        Services(Settings.from_environment(AT_AWS)).tickets.require_key()


def kept_in(arn: str) -> Services:
    """Services whose two keys are both in one secret."""
    kept = {
        "COACHSTREAM_TICKET_KEY_SECRET_ARN": arn,
        "PINECONE_API_KEY": "",
        "PINECONE_API_KEY_SECRET_ARN": arn,
    }
    return Services(Settings.from_environment({**AT_AWS, **kept}))


@pytest.mark.usefixtures("aws_credentials")
async def test_keys_are_read_from_secrets_manager_when_they_are_needed(
    moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not read earlier, and are the stored keys."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto_url)
    key = "open-sesame".ljust(32, "!")
    async with aclosing(AwsSession().secrets_manager(Connection(region="ap-south-1"))) as opening:
        client: Any = await opening()
        arn = (await client.create_secret(Name=uuid.uuid4().hex, SecretString=key))["ARN"]
    async with aclosing(kept_in(arn)) as services:
        services.tickets.require_key()
        assert "secrets" not in vars(services)
        ticket = await services.tickets.issue(CONVERSATION, "run_1")
        itself = Services(Settings.from_environment({**AT_AWS, "COACHSTREAM_TICKET_KEY": key}))
        await itself.tickets.verify(ticket, CONVERSATION, "run_1")
        assert isinstance(services.settings.recall, PineconeSettings)
        assert await pinecone_options(services.settings.recall, services.read_api_key).read_api_key() == key


@pytest.mark.usefixtures("aws_credentials")
async def test_a_rotated_ticket_key_is_noticed_by_a_warm_environment(
    moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ticket signed with the new key makes other environments read and use it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto_url)
    now = 1000.0
    async with aclosing(AwsSession().secrets_manager(Connection(region="ap-south-1"))) as opening:
        client: Any = await opening()
        arn = (await client.create_secret(Name=uuid.uuid4().hex, SecretString="a" * 32))["ARN"]
        async with aclosing(kept_in(arn)) as warm, aclosing(kept_in(arn)) as cold:
            warm.secrets = Secrets(warm.aws, clock=AgeClock(monotonic=lambda: now))
            await warm.tickets.issue(CONVERSATION, "run_1")
            await client.put_secret_value(SecretId=arn, SecretString="b" * 32)
            now += REREAD_AT_MOST_EVERY_S
            await warm.tickets.verify(await cold.tickets.issue(CONVERSATION, "run_2"), CONVERSATION, "run_2")
            await cold.tickets.verify(await warm.tickets.issue(CONVERSATION, "run_3"), CONVERSATION, "run_3")


@pytest.mark.usefixtures("aws_credentials")
async def test_keys_that_cannot_be_read_are_errors_of_the_domain(
    moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the ticket key, no ticket is accepted; without its own key, a search fails."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto_url)
    nothing = "arn:aws:secretsmanager:ap-south-1:123456789012:secret:nothing-a1B2c3"
    async with aclosing(kept_in(nothing)) as services:
        with pytest.raises(KeysUnavailable, match="ResourceNotFoundException"):
            await services.tickets.verify("x", CONVERSATION, "run_1")
        with pytest.raises(StorageUnavailable, match="ResourceNotFoundException"):
            await services.read_api_key(nothing)


async def unread(arn: str, *, instead_of: str | None = None) -> str:  # noqa: ARG001 (the port's)
    """Never called: Pinecone's key is set directly."""
    raise AssertionError(arn)


def test_every_choice_reaches_its_adapter() -> None:
    """No setting is read and then dropped."""
    chosen = BedrockSettings(
        "m",
        None,
        5,
        "eu-west-1",
        Guardrail("g", "3", GuardrailMode.WARN),
        prompt_caching=False,
        stall_s=7.0,
        can_continue=True,
    )
    assert bedrock_options(chosen) == BedrockOptions(
        model_id="m",
        temperature=None,
        max_tokens=5,
        guardrail_id="g",
        guardrail_version="3",
        guardrail_warns=True,
        prompt_caching=False,
        stall_s=7.0,
        continues=True,
    )
    index = PineconeSettings(Secret("k"), "h.example", "pinecone-rerank-v0", 0.5)
    assert pinecone_options(index, unread) == PineconeOptions(
        api_key="k", index_host="h.example", rerank_model="pinecone-rerank-v0", timeout_s=0.5
    )


NAMES = st.text("abcABC019._-:/ _,", max_size=12)


@given(
    st.fixed_dictionaries(
        {
            "USER_POOL_ID": st.from_regex(r"[a-z-]{0,12}[0-9]?_[0-9A-Za-z]{0,9}", fullmatch=True),
            "APP_CLIENT_ID": NAMES,
            "PINECONE_INDEX_HOST": NAMES,
            "PINECONE_API_KEY": NAMES,
            "COACHSTREAM_TICKET_KEY": st.sampled_from(["", "short", "x" * 31, "x" * 32]),
            "AWS_ENDPOINT_URL": st.sampled_from(["", "http://127.0.0.1:1", "https://example.com/a"]),
        }
    )
)
def test_settings_that_are_accepted_make_adapters(environment: dict[str, str]) -> None:
    """Values that an adapter would refuse at the first request are refused at start-up."""
    try:
        settings = Settings.from_environment({**AT_AWS, **environment})
    except SettingsError:
        return
    services = Services(settings)
    assert isinstance(settings.identity, CognitoSettings)
    assert services.verifier is not None
    assert services.store is not None
    assert services.tickets is not None
    assert (services.recall is None) == isinstance(settings.recall, RecallOff)


async def test_hand_offs_are_named_one_by_one(tmp_path: Path) -> None:
    """A deployment may have only one of the functions."""
    settings = Settings.from_environment(AT_AWS)
    services = Services(
        msgspec.structs.replace(settings, hand_offs=HandOffs(summary_function="build-summary"))
    )
    assert services.workout_builder is None
    assert isinstance(services.summary_builder, LambdaSummaryBuilder)
    settings = msgspec.structs.replace(
        Settings.embedded(tmp_path), hand_offs=HandOffs(workout_function="build-workout")
    )
    assert isinstance(Services(settings).workout_builder, LambdaWorkoutBuilder)


def test_the_settings_of_runs_reach_the_turns(tmp_path: Path) -> None:
    """The lease duration, the number of invocations per reply, and the policy for a second message."""
    environment = {
        **Settings.embedded(tmp_path).to_environment(),
        "COACHSTREAM_LEASE_S": "7",
        "COACHSTREAM_REPLY_INVOCATIONS": "3",
        "COACHSTREAM_TURN_POLICY": "interrupt",
    }
    runs = Services(Settings.from_environment(environment)).turn_settings.runs
    assert (runs.lease_s, runs.epochs, runs.policy.value) == (7.0, 3, "interrupt")
