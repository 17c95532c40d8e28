from __future__ import annotations

import contextlib
import copy
import pickle
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.settings import (
    VARIABLES,
    BedrockSettings,
    CognitoSettings,
    DemoModelSettings,
    DynamoDbSettings,
    Fallback,
    Guardrail,
    GuardrailMode,
    HandOffs,
    LocalIssuerSettings,
    LocalTicketKey,
    LogFormat,
    LogLevel,
    Logs,
    PineconeSettings,
    RecallOff,
    Secret,
    SecretArn,
    Settings,
    SettingsError,
    SqliteRecallSettings,
    SqliteStoreSettings,
    TurnPolicy,
    read_region,
    read_table,
    unknown_variables,
)
from coachstream.settings.variables import READ_BY_OTHERS

EMBEDDED = {
    "COACHSTREAM_STORE": "sqlite",
    "COACHSTREAM_MODEL": "demo",
    "COACHSTREAM_IDENTITY": "local",
    "COACHSTREAM_DATA_DIR": "/data",
}
AT_AWS = {
    "COACHSTREAM_STORE": "dynamodb",
    "DYNAMODB_TABLE_NAME": "All-Items",
    "COACHSTREAM_MODEL": "bedrock",
    "COACHSTREAM_IDENTITY": "cognito",
    "USER_POOL_ID": "us-west-2_aBcDeFgHi",
    "APP_CLIENT_ID": "1h57kf5cpq17m0eml12EXAMPLE",
    "COACHSTREAM_RECALL": "pinecone",
    "PINECONE_API_KEY": "pcsk-open-sesame",
    "PINECONE_INDEX_HOST": "index-abc.svc.pinecone.io",
}
KEY = Secret("pcsk-open-sesame")
TICKET_KEY = "open-sesame".ljust(32, "!")
ARN = "arn:aws:secretsmanager:us-west-2:123456789012:secret:coach/prod-a1B2c3"


def problems_of(environment: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(environment)
    assert str(refused.value) == "; ".join(refused.value.problems)
    return refused.value.problems


def test_everything_on_this_machine_needs_a_folder_and_nothing_else() -> None:
    """Unset and blank variables are equivalent."""
    settings = Settings.embedded(Path("/data"))
    assert Settings.from_environment(EMBEDDED) == settings
    assert Settings.from_environment({**EMBEDDED, "COACHSTREAM_MODEL_DELAY": " "}) == settings
    assert settings.data_dir == Path("/data")
    assert not settings.needs_region


def test_everything_elsewhere_needs_no_folder() -> None:
    """Variables have the existing system's names where it has them."""
    settings = Settings.from_environment(AT_AWS)
    assert settings == Settings(
        DynamoDbSettings("All-Items"),
        BedrockSettings("us.anthropic.claude-sonnet-4-6"),
        CognitoSettings("us-west-2_aBcDeFgHi", ("1h57kf5cpq17m0eml12EXAMPLE",)),
        PineconeSettings(KEY, "index-abc.svc.pinecone.io"),
    )
    assert settings.data_dir is None
    assert settings.needs_region


@pytest.mark.parametrize("environment", [EMBEDDED, AT_AWS])
def test_what_is_not_set_is_what_its_variable_says(environment: dict[str, str]) -> None:
    """The table of variables and the structs agree on the defaults."""
    settings = Settings.from_environment(environment)
    for variable in VARIABLES:
        if variable.default_text:
            assert (
                Settings.from_environment({variable.name: variable.default_text, **environment}) == settings
            )


def test_every_variable_is_read() -> None:
    """Every documented variable has an effect, or is listed as the SDK's."""
    read: set[str] = set()

    class Watched(dict[str, str]):
        def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
            read.add(name)
            return super().get(name, default)

    for environment in (EMBEDDED, AT_AWS):
        Settings.from_environment(Watched(environment))
    without_name = {**AT_AWS, "DYNAMODB_TABLE_NAME": "", "DYNAMODB_BASE_TABLE_NAME": "All"}
    Settings.from_environment(Watched({**without_name, "BRANCH_NAME": "main"}))
    assert read == {variable.name for variable in VARIABLES}


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_missing_required_choice_fails_closed(name: str) -> None:
    """A forgotten variable never selects a part of the demo."""
    [problem] = problems_of({key: value for key, value in EMBEDDED.items() if key != name})
    assert problem.startswith(f"{name} is not set (")


@pytest.mark.parametrize(
    "name", ["DYNAMODB_TABLE_NAME", "USER_POOL_ID", "APP_CLIENT_ID", "PINECONE_INDEX_HOST"]
)
def test_a_missing_setting_of_a_chosen_part_fails_closed(name: str) -> None:
    """Without a table, pool, client or host, nothing starts."""
    [problem] = problems_of({key: value for key, value in AT_AWS.items() if key != name})
    assert problem.startswith(f"{name} is not set (")


def test_a_part_that_is_not_chosen_needs_nothing_and_is_not_looked_at() -> None:
    """Neither its missing nor its invalid variables matter."""
    wrong = {
        "USER_POOL_ID": "?",
        "COACHSTREAM_MODEL_MAX_TOKENS": "many",
        "PINECONE_INDEX_HOST": "http://x/y",
        "MIRROR_MESSAGES": "perhaps",
        "BEDROCK_GUARDRAIL_VERSION": "1",
    }
    assert Settings.from_environment({**EMBEDDED, **wrong}) == Settings.embedded(Path("/data"))


@pytest.mark.parametrize(
    ("environment", "name", "value", "problem"),
    [
        (EMBEDDED, "COACHSTREAM_MODEL", "gpt", "must be demo or bedrock, not 'gpt'"),
        (EMBEDDED, "COACHSTREAM_RECALL", "x", "must be sqlite, pinecone or off, not 'x'"),
        (EMBEDDED, "COACHSTREAM_MODEL_DELAY", "fast", "must be a number from 0 to 60, not 'fast'"),
        (EMBEDDED, "COACHSTREAM_MODEL_DELAY", "-1", "must be a number from 0 to 60, not '-1'"),
        (EMBEDDED, "COACHSTREAM_MODEL_DELAY", "nan", "must be a number from 0 to 60, not 'nan'"),
        (
            EMBEDDED,
            "COACHSTREAM_HISTORY_BUDGET_CHARS",
            "1.5",
            "must be a whole number from 0 to 10000000, not '1.5'",
        ),
        (EMBEDDED, "COACHSTREAM_KEEP_ALIVE_S", "0", "must be a number from 0.1 to 3600, not '0'"),
        (
            EMBEDDED,
            "COACHSTREAM_TIME_ZONE",
            "Mars/Olympus",
            "must be a name in the IANA time zone database, such as Europe/Berlin, not 'Mars/Olympus'",
        ),
        (EMBEDDED, "COACHSTREAM_LOG_LEVEL", "loud", "must be debug, info, warning or error, not 'loud'"),
        (EMBEDDED, "AWS_REGION", "us west", "must be a region, not 'us west'"),
        (EMBEDDED, "BUILD_WORKOUT_FUNCTION_NAME", "a b", "must be a function's name or ARN, not 'a b'"),
        (AT_AWS, "DYNAMODB_TABLE_NAME", "a b", "must be a table's name or ARN, not 'a b'"),
        (AT_AWS, "MIRROR_MESSAGES", "perhaps", "must be true or false, not 'perhaps'"),
        (AT_AWS, "COACHSTREAM_MODEL_MAX_TOKENS", "0", "must be a whole number from 1 to 1000000, not '0'"),
        (AT_AWS, "COACHSTREAM_MODEL_TEMPERATURE", "2", "must be a number from 0 to 1 or none, not '2'"),
        (AT_AWS, "BEDROCK_GUARDRAIL_VERSION", "1", "is set, but BEDROCK_GUARDRAIL_ID is not"),
        (AT_AWS, "COACHSTREAM_GUARDRAIL_MODE", "warn", "is set, but BEDROCK_GUARDRAIL_ID is not"),
        (AT_AWS, "USER_POOL_ID", "pool", "must be a user pool's id like us-west-2_aBcDeFgHi, not 'pool'"),
        (AT_AWS, "APP_CLIENT_ID", " , ", "must be comma-separated app client ids, not ','"),
        (AT_AWS, "APP_CLIENT_ID", "a b", "must be comma-separated app client ids, not 'a b'"),
        (
            AT_AWS,
            "PINECONE_INDEX_HOST",
            "http://index.example",
            "cannot be used: plain http is allowed for this machine only; use https",
        ),
        (AT_AWS, "PINECONE_INDEX_HOST", "i.example/x", "cannot be used: it has a path after the host"),
        (
            AT_AWS,
            "PINECONE_API_KEY",
            "open sesame",
            "contains whitespace or characters that are invalid in a key",
        ),
        (AT_AWS, "COACHSTREAM_MODEL_CAN_CONTINUE", "maybe", "must be true or false, not 'maybe'"),
        (AT_AWS, "COACHSTREAM_FALLBACK_MODEL_ID", "a b", "must be a model's id or ARN, not 'a b'"),
        (AT_AWS, "COACHSTREAM_FALLBACK_REGION", "us west", "must be a region, not 'us west'"),
        (EMBEDDED, "COACHSTREAM_TURN_POLICY", "queue", "must be enqueue, reject or interrupt, not 'queue'"),
        (EMBEDDED, "COACHSTREAM_LEASE_S", "1", "must be a number from 1.01 to 3600, not '1'"),
        (EMBEDDED, "COACHSTREAM_REPLY_INVOCATIONS", "0", "must be a whole number from 1 to 100, not '0'"),
        (EMBEDDED, "COACHSTREAM_TICKET_KEY", "x" * 31, "is shorter than 32 characters"),
        (
            EMBEDDED,
            "COACHSTREAM_TICKET_KEY",
            "open sesame".ljust(32, "!"),
            "contains whitespace or characters that are invalid in a key",
        ),
        (
            EMBEDDED,
            "COACHSTREAM_TICKET_KEY_SECRET_ARN",
            "tickets",
            "must be the ARN of a secret, not 'tickets'",
        ),
        (
            AT_AWS,
            "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER",
            "cognito",
            "cannot be used: not a URL like https://example.com",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_it_should_be(
    environment: dict[str, str], name: str, value: str, problem: str
) -> None:
    """The message has all that the operator needs, and never a secret."""
    assert problems_of({**environment, name: value}) == (f"{name} {problem}",)


def test_all_configuration_errors_are_reported_together() -> None:
    """An operator must not need six attempts to find six errors."""
    environment = {
        "COACHSTREAM_STORE": "dynamodb",
        "COACHSTREAM_IDENTITY": "cognito",
        "COACHSTREAM_RECALL": "x",
    }
    told = [problem.split()[0] for problem in problems_of(environment)]
    assert sorted(told) == [
        "APP_CLIENT_ID",
        "COACHSTREAM_MODEL",
        "COACHSTREAM_RECALL",
        "DYNAMODB_TABLE_NAME",
        "USER_POOL_ID",
    ]


def test_what_an_undecided_part_would_need_is_not_asked_for() -> None:
    """Only the decision is: a folder, say, may not be needed at all."""
    told = [problem.split()[0] for problem in problems_of({})]
    assert told == ["COACHSTREAM_STORE", "COACHSTREAM_MODEL", "COACHSTREAM_IDENTITY"]


@pytest.mark.parametrize(
    ("variables", "table"),
    [
        ({"DYNAMODB_TABLE_NAME": "T-V2"}, "T-V2"),
        ({"DYNAMODB_TABLE_NAME": "T-V2", "DYNAMODB_BASE_TABLE_NAME": "B-V2", "BRANCH_NAME": "dev"}, "T-V2"),
        ({"DYNAMODB_BASE_TABLE_NAME": "B-V2", "BRANCH_NAME": "main"}, "B-V2"),
        ({"DYNAMODB_BASE_TABLE_NAME": "B-V2", "BRANCH_NAME": "dev"}, "B-V2-dev"),
    ],
)
def test_the_table_is_found_as_the_existing_functions_find_it(variables: dict[str, str], table: str) -> None:
    """Facts, section 1.1: a full name, or a base name and the branch."""
    assert read_table(variables) == table
    settings = Settings.from_environment({**AT_AWS, "DYNAMODB_TABLE_NAME": "", **variables})
    assert settings.store == DynamoDbSettings(table)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({}, "DYNAMODB_TABLE_NAME is not set"),
        ({"DYNAMODB_BASE_TABLE_NAME": "B-V2"}, "BRANCH_NAME is not set"),
        (
            {"DYNAMODB_BASE_TABLE_NAME": "B-V2", "BRANCH_NAME": "feature/x"},
            "DYNAMODB_BASE_TABLE_NAME and BRANCH_NAME make 'B-V2-feature/x'",
        ),
    ],
)
def test_no_table_is_guessed(variables: dict[str, str], problem: str) -> None:
    """Without its branch, a base name would be production's table."""
    with pytest.raises(SettingsError) as refused:
        read_table(variables)
    [told] = refused.value.problems
    assert told.startswith(problem)


def test_the_region_is_awss_own() -> None:
    """AWS_REGION as on Lambda, else the SDK's AWS_DEFAULT_REGION; without either there is none."""
    assert read_region({"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "eu-west-1"}) == "us-west-2"
    assert read_region({"AWS_DEFAULT_REGION": "eu-west-1"}) == "eu-west-1"
    assert read_region({}) is None
    with pytest.raises(SettingsError):
        read_region({"AWS_REGION": "us west"})


def test_clients_are_comma_separated_and_the_pool_id_contains_its_region() -> None:
    """For example, the web client and the mobile client of one pool."""
    settings = Settings.from_environment(
        {**AT_AWS, "APP_CLIENT_ID": "web, mobile,", "AWS_REGION": "eu-west-1"}
    )
    assert isinstance(settings.identity, CognitoSettings)
    assert settings.identity.client_ids == ("web", "mobile")
    assert settings.identity.region == "us-west-2"


def test_cognitos_keys_are_read_where_the_sdks_variables_say() -> None:
    """The service's own endpoint overrides the general one."""
    everything = {**AT_AWS, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    settings = Settings.from_environment(everything)
    assert isinstance(settings.identity, CognitoSettings)
    assert settings.identity.endpoint_url == "http://127.0.0.1:1"
    own = {**everything, "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": "http://127.0.0.1:2"}
    settings = Settings.from_environment(own)
    assert isinstance(settings.identity, CognitoSettings)
    assert settings.identity.endpoint_url == "http://127.0.0.1:2"


def test_recall_without_a_key_is_off_and_remembers_why() -> None:
    """It is no error: the coach replies without recall."""
    environment = {**AT_AWS, "PINECONE_API_KEY": "", "PINECONE_INDEX_HOST": ""}
    assert Settings.from_environment(environment).recall == RecallOff(is_key_missing=True)
    assert Settings.from_environment({**AT_AWS, "COACHSTREAM_RECALL": "off"}).recall == RecallOff()


def test_without_a_fallback_the_model_itself_is_asked_again() -> None:
    """A model id, a region, or both define a fallback."""

    def fallback(**variables: str) -> Fallback | None:
        settings = Settings.from_environment({**AT_AWS, **variables})
        assert isinstance(settings.model, BedrockSettings)
        return settings.model.fallback

    assert fallback() is None
    assert fallback(COACHSTREAM_FALLBACK_MODEL_ID="m") == Fallback("m")
    assert fallback(COACHSTREAM_FALLBACK_REGION="us-east-1") == Fallback(region="us-east-1")
    both = {"COACHSTREAM_FALLBACK_MODEL_ID": "m", "COACHSTREAM_FALLBACK_REGION": "us-east-1"}
    assert fallback(**both) == Fallback("m", "us-east-1")
    with pytest.raises(ValueError, match="another model"):
        Fallback()


@pytest.mark.parametrize(
    "here",
    [{"AWS_REGION": "us-west-2"}, {"AWS_REGION": "eu-west-1", "COACHSTREAM_MODEL_REGION": "us-west-2"}],
)
def test_a_fallback_outside_the_guardrails_region_is_refused(here: dict[str, str]) -> None:
    """The guardrail is regional: a fallback's reply in another region would go unchecked."""
    guarded = {**AT_AWS, **here, "BEDROCK_GUARDRAIL_ID": "abc123"}
    for elsewhere in ("us-east-1", "eu-west-1"):
        [problem] = problems_of({**guarded, "COACHSTREAM_FALLBACK_REGION": elsewhere})
        assert problem.startswith("COACHSTREAM_FALLBACK_REGION cannot be another region")
    Settings.from_environment({**guarded, "COACHSTREAM_FALLBACK_REGION": "us-west-2"})
    Settings.from_environment({**guarded, "COACHSTREAM_FALLBACK_MODEL_ID": "m"})


def test_the_ticket_key_is_set_in_a_secret_or_local() -> None:
    """Without any of these, there are no tickets."""

    def key_of(environment: dict[str, str], **variables: str) -> object:
        return Settings.from_environment({**environment, **variables}).ticket_key

    assert key_of(AT_AWS) is None
    assert key_of(EMBEDDED) == LocalTicketKey(Path("/data"))
    for environment in (AT_AWS, EMBEDDED):
        assert key_of(environment, COACHSTREAM_TICKET_KEY=TICKET_KEY) == Secret(TICKET_KEY)
        assert key_of(environment, COACHSTREAM_TICKET_KEY_SECRET_ARN=ARN) == SecretArn(ARN)


def test_pinecones_key_may_be_kept_elsewhere() -> None:
    """Recall is then on without the key itself; a secret's ARN is not secret."""
    kept = {"PINECONE_API_KEY": "", "PINECONE_API_KEY_SECRET_ARN": ARN}
    settings = Settings.from_environment({**AT_AWS, **kept})
    assert settings.recall == PineconeSettings(SecretArn(ARN), "index-abc.svc.pinecone.io")
    assert settings.secret_arns == (ARN,)
    assert ARN in repr(settings)
    assert Settings.from_environment(AT_AWS).secret_arns == ()


@pytest.mark.parametrize(
    ("key", "arn"),
    [
        ("COACHSTREAM_TICKET_KEY", "COACHSTREAM_TICKET_KEY_SECRET_ARN"),
        ("PINECONE_API_KEY", "PINECONE_API_KEY_SECRET_ARN"),
    ],
)
def test_a_key_in_two_places_is_a_mistake(key: str, arn: str) -> None:
    """It would be unclear which one applies; the key is not shown."""
    [problem] = problems_of({**AT_AWS, key: TICKET_KEY, arn: ARN})
    assert problem == f"{key} and {arn} are both set; set only one of them"


def test_names_are_read_in_any_case() -> None:
    """`SQLite` and `True` are understood."""
    settings = Settings.from_environment({**EMBEDDED, "COACHSTREAM_RECALL": "SQLite"})
    assert settings.recall == SqliteRecallSettings(Path("/data"))
    settings = Settings.from_environment({**EMBEDDED, "COACHSTREAM_TURN_POLICY": "Interrupt"})
    assert settings.turn_policy is TurnPolicy.INTERRUPT
    settings = Settings.from_environment({**AT_AWS, "MIRROR_MESSAGES": "True"})
    assert settings.store == DynamoDbSettings("All-Items", mirror_messages=True)


def test_parts_in_two_folders_cannot_be() -> None:
    """No environment can express this, so settings must not either."""
    with pytest.raises(ValueError, match="the same folder"):
        Settings(SqliteStoreSettings(Path("a")), DemoModelSettings(), LocalIssuerSettings(Path("b")))


def test_a_secret_is_shown_nowhere() -> None:
    """Neither by itself nor within the settings, printed or serialized; only `reveal` returns it."""
    settings = Settings.from_environment({**AT_AWS, "COACHSTREAM_TICKET_KEY": TICKET_KEY})
    for shown in (repr(KEY), str(KEY), f"{KEY}", f"{KEY!r}", repr(settings), str(settings)):
        assert "sesame" not in shown
    for write in (pickle.dumps, copy.deepcopy, msgspec.json.encode):
        with pytest.raises(TypeError):
            write(settings)
    assert KEY.reveal() == "pcsk-open-sesame"
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1
    with pytest.raises(ValueError, match="empty"):
        Secret("")


FOLDER = Path("some folder/ü")
NAMES = st.from_regex(r"[A-Za-z0-9-]{3,20}", fullmatch=True)
URLS = st.sampled_from(["http://127.0.0.1:8000", "https://example.com/x", "http://localhost:1/"])


def is_guarded_everywhere(model: BedrockSettings) -> bool:
    """Whether a fallback is in the guardrail's region, if there is a guardrail."""
    is_elsewhere = model.fallback is not None and model.fallback.region not in {None, model.region}
    return model.guardrail is None or not is_elsewhere


@given(
    st.builds(
        Settings,
        store=st.just(SqliteStoreSettings(FOLDER)) | st.builds(DynamoDbSettings, NAMES, st.booleans()),
        model=st.builds(DemoModelSettings, st.floats(0, 60))
        | st.builds(
            BedrockSettings,
            NAMES,
            temperature=st.none() | st.floats(0, 1),
            max_tokens=st.integers(1, 1_000_000),
            region=st.none() | st.just("eu-central-1"),
            guardrail=st.none()
            | st.builds(
                Guardrail, NAMES, st.sampled_from(["DRAFT", "1", "27"]), st.sampled_from(GuardrailMode)
            ),
            prompt_caching=st.booleans(),
            stall_s=st.floats(1, 300),
            can_continue=st.none() | st.booleans(),
            fallback=st.none() | st.builds(Fallback, NAMES, st.none() | st.just("eu-central-1")),
        ).filter(is_guarded_everywhere),
        identity=st.just(LocalIssuerSettings(FOLDER))
        | st.builds(
            CognitoSettings,
            st.just("us-west-2_aBcDeFgHi"),
            st.lists(NAMES.filter(lambda name: "-" not in name), min_size=1, max_size=3).map(tuple),
            st.none() | URLS,
            st.none() | st.just(Path("jwks.json")),
        ),
        recall=st.just(SqliteRecallSettings(FOLDER))
        | st.builds(RecallOff, st.booleans())
        | st.builds(
            PineconeSettings,
            st.from_regex(r"[!-~]{1,30}", fullmatch=True).map(Secret) | st.just(SecretArn(ARN)),
            st.sampled_from(["index.example", "http://127.0.0.1:9"]),
            st.none() | NAMES,
            st.floats(0.1, 60),
        ),
        hand_offs=st.builds(HandOffs, st.none() | NAMES, st.none() | NAMES),
        logs=st.builds(
            Logs,
            level=st.sampled_from(LogLevel),
            format=st.sampled_from(LogFormat),
            metrics_namespace=st.none() | NAMES.filter(lambda name: name.lower() != "off"),
        ),
        region=st.none() | st.just("us-west-2"),
        history_budget_chars=st.integers(0, 10_000_000),
        optional_context_budget_s=st.floats(0, 60),
        time_zone=st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Ushuaia"]),
        keep_alive_s=st.floats(0.1, 3600),
        own_ticket_key=st.none()
        | st.just(SecretArn(ARN))
        | st.from_regex(r"[!-~]{32,40}", fullmatch=True).map(Secret),
        turn_policy=st.sampled_from(TurnPolicy),
        lease_s=st.floats(1.01, 3600),
        reply_invocations=st.integers(1, 100),
    )
)
def test_settings_reach_a_child_process_unchanged(settings: Settings) -> None:
    """Settings written to the environment are read back unchanged, keys included."""
    assert Settings.from_environment(settings.to_environment()) == settings


@given(
    st.sampled_from([{}, EMBEDDED, AT_AWS]),
    st.dictionaries(st.sampled_from([variable.name for variable in VARIABLES]), st.text(max_size=10)),
)
def test_any_environment_gives_settings_or_the_typed_error(
    base: dict[str, str], environment: dict[str, str]
) -> None:
    """No value makes the reader fail in any other way."""
    with contextlib.suppress(SettingsError):
        Settings.from_environment({**base, **environment})


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "COACHSTREAM_STOER",
            "COACHSTREAM_STOER is not a variable of coachstream (did you mean COACHSTREAM_STORE?)",
        ),
        (
            "COACHSTREAM_TURN_PLICY",
            "COACHSTREAM_TURN_PLICY is not a variable of coachstream (did you mean COACHSTREAM_TURN_POLICY?)",
        ),
        ("COACHSTREAM_COLOR", "COACHSTREAM_COLOR is not a variable of coachstream"),
    ],
)
def test_a_variable_that_no_one_reads_is_noticed(name: str, sentence: str) -> None:
    """It would have no effect, although the operator expects one."""
    assert unknown_variables({**EMBEDDED, name: "x"}) == (sentence,)


def test_known_and_unrelated_variables_are_not_reported() -> None:
    """All of ours, those of a deployment and of the test suite, and any others of the machine."""
    ours = {variable.name: "x" for variable in (*VARIABLES, *READ_BY_OTHERS)}
    others = {
        "COACHSTREAM_DEPLOY_PACKAGE": "x",
        "COACHSTREAM_TEST_MARK": "x",
        "HOME": "/",
        "coachstream_x": "",
    }
    assert unknown_variables({**ours, **others}) == ()


def test_a_misspelled_name_of_the_existing_system_is_named_where_the_right_one_is_missing() -> None:
    """Its value is not shown."""
    environment = {**AT_AWS, "USERPOOL_ID": "us-west-2_aBcDeFgHi"}
    del environment["USER_POOL_ID"]
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(environment)
    (problem,) = refused.value.problems
    assert problem.startswith("USER_POOL_ID is not set (")
    assert problem.endswith("; USERPOOL_ID is set, which may be a misspelling")


@pytest.mark.parametrize(
    ("model_id", "named", "expected"),
    [
        ("eu.anthropic.claude-sonnet-4-6", "", "eu.amazon.nova-2-lite-v1:0"),
        ("global.anthropic.claude-sonnet-4-6", "", "global.amazon.nova-2-lite-v1:0"),
        ("apac.anthropic.claude-sonnet-4-6", "", None),
        ("anthropic.claude-3-haiku-20240307-v1:0", "", None),
        ("eu.anthropic.claude-sonnet-4-6", "Off", None),
        ("apac.anthropic.claude-sonnet-4-6", "apac.amazon.nova-micro-v1:0", "apac.amazon.nova-micro-v1:0"),
    ],
)
def test_messages_are_analysed_where_they_are_replied_to(
    model_id: str, named: str, expected: str | None
) -> None:
    """Unless another model is named, or none."""
    environment = {**AT_AWS, "COACHSTREAM_MODEL_ID": model_id, "COACHSTREAM_ANALYSIS_MODEL_ID": named}
    settings = Settings.from_environment(environment)
    assert isinstance(settings.model, BedrockSettings)
    assert settings.model.analysis_model == expected
    assert Settings.from_environment(settings.to_environment()) == settings
