"""What a deployment reports about its models, from Bedrock or else the built-in table; it blocks nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coachstream.cli.deployed_models import DeployedModel, deployed_models
from support.bedrock_control import BedrockControl, bedrock_control, legacy

DEFAULT = "us.anthropic.claude-sonnet-4-6"
ANALYSIS = "us.amazon.nova-2-lite-v1:0"
NO_ANALYSIS = {"COACHSTREAM_DEPLOY_ANALYSIS_MODEL_ID": "off"}
ENDED = "us.anthropic.claude-sonnet-4-20250514-v1:0"
NEW = "maker.model-of-next-year-v1:0"
IN_OREGON = {"AWS_REGION": "us-west-2", **NO_ANALYSIS}


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch, aws_credentials: None) -> Iterator[BedrockControl]:  # noqa: ARG001
    """Bedrock's control plane, which lists the default model and a Legacy one."""
    with bedrock_control() as control:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", control.url)
        control.add(DEFAULT.removeprefix("us."))
        control.add(ANALYSIS.removeprefix("us."))
        control.add(NEW, legacy(endOfLifeTime="2199-01-01T00:00:00Z"))
        yield control


def said(models: list[DeployedModel]) -> list[tuple[str, str, bool]]:
    return [(each.option.flag, each.model_id, bool(each.standing.remedy)) for each in models]


async def test_the_default_model_needs_nothing(control: BedrockControl) -> None:
    """Bedrock is asked about the profile, then about the model."""
    models = await deployed_models(IN_OREGON, is_online=True)
    assert said(models) == [("--model-id", DEFAULT, False)]
    assert len(control.requests) == 2


@pytest.mark.usefixtures("control")
async def test_the_analysis_model_is_looked_at_as_the_model_is() -> None:
    """The default one, in the geography of the model, or a named one."""
    for named, expected in (("", ANALYSIS), (f"us.{NEW}", f"us.{NEW}")):
        options = {**IN_OREGON, "COACHSTREAM_DEPLOY_ANALYSIS_MODEL_ID": named}
        _, analysis = await deployed_models(options, is_online=True)
        assert said([analysis]) == [("--analysis-model-id", expected, named != "")]


@pytest.mark.usefixtures("control")
async def test_a_fallback_is_looked_at_as_the_model_is() -> None:
    """Each is reported under the option that names it."""
    options = {"COACHSTREAM_DEPLOY_FALLBACK_MODEL_ID": f"us.{NEW}", **IN_OREGON}
    model, fallback = await deployed_models(options, is_online=True)
    assert said([model, fallback]) == [
        ("--model-id", DEFAULT, False),
        ("--fallback-model-id", f"us.{NEW}", True),
    ]
    assert "It is Legacy and ends on 2199-01-01, according to Bedrock" in fallback.standing.sentence


async def test_offline_the_built_in_table_is_used_without_a_request(control: BedrockControl) -> None:
    """A plan without credentials reports what it can."""
    options = {"COACHSTREAM_DEPLOY_MODEL_ID": ENDED, **IN_OREGON}
    [model] = await deployed_models(options, is_online=False)
    assert "end of life on 2026-10-14, according to the table" in model.standing.sentence
    assert control.requests == []


async def test_without_the_permission_the_table_speaks(control: BedrockControl) -> None:
    """Missing permissions must not prevent a deployment."""
    control.refusal = (403, "AccessDeniedException")
    [model] = await deployed_models(IN_OREGON, is_online=True)
    assert "bedrock:GetInferenceProfile is not allowed" in model.standing.sentence
    assert model.standing.remedy == ""


async def test_a_silent_or_unreachable_control_plane_blocks_nothing(
    control: BedrockControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request times out, and the built-in table is used."""
    control.may_answer.clear()
    [model] = await deployed_models(IN_OREGON, is_online=True)
    assert "could not be asked" in model.standing.sentence
    assert model.standing.remedy == ""
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", "http://127.0.0.1:1")
    [model] = await deployed_models(IN_OREGON, is_online=True)
    assert "could not be asked" in model.standing.sentence
