"""The table of models: rows are found by model id, complete, and have a source."""

from __future__ import annotations

from datetime import date

import pytest

from coachstream.language.bedrock.model_families import MODELS, UNKNOWN, ModelFamily, family_of, name_of
from coachstream.language.bedrock.refusals import Reason
from coachstream.settings.variables import DEFAULT_ANALYSIS_MODEL, MODEL_ID
from support.bedrock_server import options_with
from support.places import ROOT

DEFAULT = "us.anthropic.claude-sonnet-4-6"


def test_the_default_model_is_one_that_can_be_called() -> None:
    """It has a row and no end of life; it starts replies over and accepts a temperature."""
    assert MODEL_ID.default == DEFAULT
    family = family_of(DEFAULT)
    assert family.end_of_life is None
    assert (family.takes_temperature, family.takes_prefill, family.cached_from_tokens) == (True, False, 1024)


@pytest.mark.parametrize("model", [DEFAULT, DEFAULT_ANALYSIS_MODEL])
def test_a_default_model_is_written_once(model: str) -> None:
    """It is in the table of variables, from which the Amplify drop-in's settings are generated."""
    folders = (
        ("packages/lambda-streaming/src", "*.py"),
        ("packages/coachstream/src", "*.py"),
        ("deploy", "*.ts"),
        ("bench", "*.py"),
        ("docs", "*.md"),
        (".", "README.md"),
    )
    files = [path for folder, pattern in folders for path in (ROOT / folder).glob(f"**/{pattern}")]
    named = {path.name for path in files if f'"{model}"' in path.read_text()}
    assert named == {"variables.py"}


@pytest.mark.parametrize("family", MODELS, ids=lambda family: family.name)
def test_every_row_can_be_found_and_says_where_it_comes_from(family: ModelFamily) -> None:
    """A name with a region or a date would never match; the Legacy date precedes the end of life."""
    assert family_of(f"us.maker.{family.name}-20260101-v1:0") is family
    assert name_of(family.name) == family.name
    assert family.provenance.source
    assert family.provenance.looked_up >= date(2026, 11, 27)
    if family.legacy_from is not None and family.end_of_life is not None:
        assert family.legacy_from < family.end_of_life


def test_no_two_rows_are_about_one_model() -> None:
    """The second one would never match."""
    assert len({family.name for family in MODELS}) == len(MODELS)


@pytest.mark.parametrize(
    ("model_id", "temperature", "end"),
    [
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", 0.7, date(2026, 10, 14)),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", 0.7, date(2027, 1, 8)),
        ("global.anthropic.claude-opus-4-6-v1", 0.7, None),
        ("us.anthropic.claude-opus-4-7", None, None),
        ("eu.anthropic.claude-opus-4-8", None, None),
        ("us.anthropic.claude-opus-5", None, None),
        ("global.anthropic.claude-sonnet-5", None, None),
        ("us.amazon.nova-2-lite-v1:0", 0.7, None),
        ("us.anthropic.claude-sonnet-4-9", 0.7, None),
    ],
)
def test_the_temperature_is_decided_by_the_model(
    model_id: str, temperature: float | None, end: date | None
) -> None:
    """One setting serves a model and its fallback; each sends it only if it accepts one."""
    options = options_with(model_id, temperature=0.7)
    assert options.sent_temperature == temperature
    assert options.family.end_of_life == end


@pytest.mark.parametrize(
    "model_id",
    [
        "us.anthropic.claude-sonnet-4-9",
        "us.maker.model-of-next-year-v1:0",
        "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc",
    ],
)
def test_a_model_without_a_row_uses_no_optional_feature_but_the_temperature(model_id: str) -> None:
    """This includes models whose name starts like that of another family."""
    options = options_with(model_id)
    assert options.family is UNKNOWN
    assert (options.can_continue, options.cached_from_tokens, options.sent_temperature) == (False, None, 0.7)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_remedy(reason: Reason) -> None:
    """Remedies are complete sentences for the log."""
    assert reason.remedy.endswith(".")
