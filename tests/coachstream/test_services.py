"""The composition root: settings become adapters, each at its first use, and everything is closed."""

from __future__ import annotations

import logging
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.hand_off.lambda_functions import LambdaSummaryBuilder, LambdaWorkoutBuilder
from coachstream.language.bedrock import DEFAULT_MODEL_ID, BedrockModel, BedrockOptions, BedrockWholeReply
from coachstream.language.demo import DemoModel
from coachstream.recall.pinecone import PineconeOptions, PineconeRecall
from coachstream.recall.sqlite import SqliteRecall
from coachstream.services import Services, bedrock_options, pinecone_options
from coachstream.settings import (
    BedrockSettings,
    CognitoSettings,
    Guardrail,
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
OPENED_LAZILY = ("aiobotocore", "botocore", "pinecone", "sqlite3", "jwt", "cryptography", "httpx")


async def test_everything_on_this_machine(tmp_path: Path) -> None:
    """The demo model serves both functions; nothing is handed off."""
    settings = msgspec.structs.replace(Settings.embedded(tmp_path), recall=SqliteRecallSettings(tmp_path))
    async with aclosing(Services(settings)) as services:
        assert isinstance(services.store, SqliteStore)
        assert isinstance(services.model, DemoModel)
        assert services.whole_reply_model is services.model
        assert isinstance(services.recall, SqliteRecall)
        assert services.workout_builder is None
        assert services.summary_builder is None


async def test_everything_elsewhere() -> None:
    """Each part is the real one, the answer in one piece a model of its own; one session for all."""
    async with aclosing(Services(Settings.from_environment(AT_AWS))) as services:
        assert isinstance(services.store, DynamoDbStore)
        assert isinstance(services.model, BedrockModel)
        assert isinstance(services.whole_reply_model, BedrockWholeReply)
        assert isinstance(services.recall, PineconeRecall)
        assert isinstance(services.workout_builder, LambdaWorkoutBuilder)
        assert isinstance(services.summary_builder, LambdaSummaryBuilder)
        assert services.model.display_name == "claude-sonnet-4"
        assert services.store is services.store
        assert services.verifier is services.verifier


def test_making_the_services_imports_nothing_heavy() -> None:
    """What a request does not need costs it nothing; what it needs is imported after its first byte."""
    script = (
        "import sys\n"
        "from coachstream.services import Services\n"
        "from coachstream.settings import Settings\n"
        f"services = Services(Settings.from_environment({AT_AWS!r}))\n"
        "services.verifier, services.store, services.model, services.recall, services.workout_builder\n"
        f"print(sorted(set({OPENED_LAZILY!r}) & set(sys.modules)))\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


async def test_recall_that_is_off_for_want_of_a_key_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a process; and nothing where nobody asked for recall."""
    caplog.set_level(logging.INFO)
    asked = msgspec.structs.replace(Settings.embedded(tmp_path), recall=RecallOff(is_key_missing=True))
    services = Services(asked)
    assert services.recall is services.recall is None
    assert Services(Settings.embedded(tmp_path)).recall is None
    assert caplog.messages == ["Recall is off: PINECONE_API_KEY is not set."]


async def test_what_was_opened_is_closed_and_the_rest_is_not_opened_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also twice; a client that nobody called was never made."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    services = Services(Settings.from_environment(AT_AWS))
    await services.aclose()
    assert set(vars(services)) == {"settings"}
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
    """A model may be where the table is not."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    own = {**AT_AWS, "COACHSTREAM_MODEL_REGION": "eu-central-1"}
    for environment, region in ((AT_AWS, "us-west-2"), (own, "eu-central-1")):
        async with aclosing(Services(Settings.from_environment(environment))) as services:
            assert (await services.bedrock_runtime()).meta.region_name == region
            assert (await services.dynamodb()).meta.region_name == "us-west-2"
            # Nobody but the model's own attempts may try again, and nobody but its clock give up.
            config: Any = (await services.bedrock_runtime()).meta.config
            assert config.retries["total_max_attempts"] == 1
            assert config.read_timeout >= 300


def test_the_defaults_are_the_adapters_own() -> None:
    """What is not set is what the adapter would do by itself."""
    environment = {key: value for key, value in AT_AWS.items() if not key.startswith("BUILD_")}
    settings = Settings.from_environment(environment)
    assert isinstance(settings.model, BedrockSettings)
    assert isinstance(settings.recall, PineconeSettings)
    assert bedrock_options(settings.model) == BedrockOptions(model_id=DEFAULT_MODEL_ID)
    assert pinecone_options(settings.recall) == PineconeOptions(
        api_key="pcsk-open-sesame", index_host="index.example"
    )


def test_every_choice_reaches_its_adapter() -> None:
    """No setting is read and then forgotten."""
    chosen = BedrockSettings(
        "m", None, 5, "eu-west-1", Guardrail("g", "3"), prompt_caching=False, stall_s=7.0
    )
    assert bedrock_options(chosen) == BedrockOptions(
        model_id="m",
        temperature=None,
        max_tokens=5,
        guardrail_id="g",
        guardrail_version="3",
        prompt_caching=False,
        stall_s=7.0,
    )
    index = PineconeSettings(Secret("k"), "h.example", "pinecone-rerank-v0", 0.5)
    assert pinecone_options(index) == PineconeOptions(
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
            "AWS_ENDPOINT_URL": st.sampled_from(["", "http://127.0.0.1:1", "https://example.com/a"]),
        }
    )
)
def test_settings_that_are_accepted_make_adapters(environment: dict[str, str]) -> None:
    """What an adapter would refuse at the first request is refused before."""
    try:
        settings = Settings.from_environment({**AT_AWS, **environment})
    except SettingsError:
        return
    services = Services(settings)
    assert isinstance(settings.identity, CognitoSettings)
    assert services.verifier is not None
    assert services.store is not None
    assert (services.recall is None) == isinstance(settings.recall, RecallOff)


async def test_hand_offs_are_named_one_by_one(tmp_path: Path) -> None:
    """A deployment may have the one function and not the other."""
    settings = msgspec.structs.replace(
        Settings.embedded(tmp_path), hand_offs=HandOffs(summary_function="build-summary")
    )
    services = Services(settings)
    assert services.workout_builder is None
    assert isinstance(services.summary_builder, LambdaSummaryBuilder)
