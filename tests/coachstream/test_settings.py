from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.settings import (
    VARIABLES,
    IdentityProvider,
    Model,
    Recall,
    Settings,
    SettingsError,
    Store,
)

LEAST = {
    "COACHSTREAM_STORE": "sqlite",
    "COACHSTREAM_MODEL": "demo",
    "COACHSTREAM_IDENTITY": "local",
    "COACHSTREAM_DATA_DIR": "/data",
}


def test_what_is_optional_has_the_default_that_its_variable_names() -> None:
    """Unset and empty are the same; the table of variables and the struct agree."""
    settings = Settings(Store.SQLITE, Model.DEMO, IdentityProvider.LOCAL, Path("/data"))
    assert Settings.from_environment(LEAST) == settings
    assert Settings.from_environment({**LEAST, "COACHSTREAM_MODEL_DELAY": " "}) == settings
    assert set(settings.to_environment()) == {variable.name for variable in VARIABLES}
    for variable in VARIABLES:
        if variable.default is not None:
            assert Settings.from_environment({**LEAST, variable.name: variable.default}) == settings


@pytest.mark.parametrize("name", LEAST)
def test_what_a_deployment_must_decide_fails_closed(name: str) -> None:
    """Nothing of the demo is ever used because a variable was forgotten."""
    environment = {key: value for key, value in LEAST.items() if key != name}
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(environment)
    [problem] = refused.value.problems
    assert problem.startswith(f"{name} is not set (")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("STORE", "dynamodb", "COACHSTREAM_STORE=dynamodb is not part of this version yet; use sqlite"),
        ("MODEL", "bedrock", "COACHSTREAM_MODEL=bedrock is not part of this version yet; use demo"),
        ("IDENTITY", "cognito", "COACHSTREAM_IDENTITY=cognito is not part of this version yet; use local"),
        (
            "RECALL",
            "pinecone",
            "COACHSTREAM_RECALL=pinecone is not part of this version yet; use sqlite or off",
        ),
        ("MODEL", "gpt", "COACHSTREAM_MODEL must be demo, not 'gpt'"),
        ("MODEL_DELAY", "fast", "COACHSTREAM_MODEL_DELAY must be a number from 0 to 60, not 'fast'"),
        ("MODEL_DELAY", "-1", "COACHSTREAM_MODEL_DELAY must be a number from 0 to 60, not '-1'"),
        ("MODEL_DELAY", "nan", "COACHSTREAM_MODEL_DELAY must be a number from 0 to 60, not 'nan'"),
        ("HISTORY_BUDGET_CHARS", "1.5", "COACHSTREAM_HISTORY_BUDGET_CHARS must be a whole number, not 1.5"),
        ("KEEP_ALIVE_S", "0", "COACHSTREAM_KEEP_ALIVE_S must be a number from 0.1 to 3600, not '0'"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_should_be(name: str, value: str, problem: str) -> None:
    """The message is all that the operator needs."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({**LEAST, f"COACHSTREAM_{name}": value})
    assert refused.value.problems == (problem,)
    assert str(refused.value) == problem


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody has to start five times to learn of five mistakes."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({"COACHSTREAM_RECALL": "x"})
    assert len(refused.value.problems) == 5


def test_names_are_read_in_any_case() -> None:
    """`SQLite` is understood."""
    assert Settings.from_environment({**LEAST, "COACHSTREAM_RECALL": "SQLite"}).recall is Recall.SQLITE


@given(
    st.builds(
        Settings,
        store=st.sampled_from(Store),
        model=st.sampled_from(Model),
        identity=st.sampled_from(IdentityProvider),
        data_dir=st.sampled_from([Path("/data"), Path("some folder/ü")]),
        recall=st.sampled_from(Recall),
        model_delay_s=st.floats(0, 60),
        history_budget_chars=st.integers(0, 10_000_000),
        optional_context_budget_s=st.floats(0, 60),
        keep_alive_s=st.floats(0.1, 3600),
    )
)
def test_settings_reach_a_child_process_unchanged(settings: Settings) -> None:
    """What is written to the environment is read from it again."""
    assert Settings.from_environment(settings.to_environment()) == settings


@given(st.dictionaries(st.sampled_from([variable.name for variable in VARIABLES]), st.text(max_size=10)))
def test_any_environment_gives_settings_or_the_typed_error(environment: dict[str, str]) -> None:
    """No value makes the reader fail in another way."""
    with contextlib.suppress(SettingsError):
        Settings.from_environment(environment)
