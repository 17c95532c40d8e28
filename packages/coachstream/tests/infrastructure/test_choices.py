"""The options of the constructs, and which values they refuse before anything is deployed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("node")

SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret"


@pytest.mark.parametrize(
    "origin",
    ["https://app.example.com", "http://localhost:5173", "https://a.b.c.example", "http://[::1]:8080"],
)
def test_an_origin_is_what_a_browser_sends(origin: str) -> None:
    """Scheme, host and port."""
    from coachstream.infrastructure.cors import Cors

    assert Cors(origins=(origin,)).origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "app.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?x=1",
        "https://*.example.com",
        "ftp://app.example.com",
        "https://app.example.com:",
        "https://app.example.com:123456",
        "https://user@app.example.com",
        "https://app.example.com\n",
        "null",
    ],
)
def test_what_no_browser_sends_is_refused(origin: str) -> None:
    """It would never match, for no apparent reason."""
    from coachstream.infrastructure.cors import Cors

    with pytest.raises(ValueError, match="is not an origin"):
        Cors(origins=("https://app.example.com", origin))


@pytest.mark.parametrize("number", [0, 101])
def test_the_number_of_origins_is_limited_as_lambda_limits_it(number: int) -> None:
    """At least one, at most a hundred."""
    from coachstream.infrastructure.cors import Cors
    from coachstream.infrastructure.deploy_options import MAX_ORIGINS

    assert MAX_ORIGINS == 100
    origins = tuple(f"https://a{each}.example.com" for each in range(number))
    with pytest.raises(ValueError, match="1 to 100"):
        Cors(origins=origins)
    as_many = (*origins, "https://b.example.com")[:100]
    assert Cors(origins=as_many).origins == as_many


def test_any_origin_is_one_only_where_it_is_allowed() -> None:
    """`*` is never accepted by accident."""
    from coachstream.infrastructure.cors import Cors

    with pytest.raises(ValueError, match=r"the origin \* allows every page"):
        Cors(origins=("*",))
    assert Cors(origins=("*",), allow_any_origin=True).origins == ("*",)


@pytest.mark.parametrize("seconds", [-1, 86_401])
def test_a_preflight_is_remembered_for_a_day_at_most(seconds: int) -> None:
    """This is Lambda's own limit."""
    from coachstream.infrastructure.cors import Cors

    with pytest.raises(ValueError, match="from 0 to 86400"):
        Cors(origins=("https://app.example.com",), max_age_s=seconds)


@pytest.mark.parametrize(
    "name",
    [
        "DYNAMODB_TABLE_NAME",
        "COACHSTREAM_MODEL_ID",
        "COACHSTREAM_FALLBACK_REGION",
        "PINECONE_API_KEY",
        "PINECONE_API_KEY_SECRET_ARN",
        "COACHSTREAM_TICKET_KEY",
        "COACHSTREAM_DATA_DIR",
        "COACHSTREAM_METRICS_NAMESPACE",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "PATH",
        "COACHSTREAM_LEASE",
    ],
)
def test_a_variable_that_has_a_field_is_secret_or_is_unknown_is_refused(name: str) -> None:
    """The policy would not match it, its value would be exposed, or no code would read it."""
    from coachstream.infrastructure.service import Service

    with pytest.raises(ValueError, match=f"{name} cannot be set here"):
        Service(variables={name: "x"})


def test_any_other_variable_is_handed_on() -> None:
    """It is validated as the functions will validate it."""
    from coachstream.infrastructure.backend import Backend
    from coachstream.infrastructure.service import Service
    from coachstream.settings import SettingsError

    backend = Backend(table="a-table", user_pool_id="us-west-2_Pool1", client_ids=("client1",))

    def environment(value: str) -> dict[str, str]:
        service = Service(variables={"COACHSTREAM_TURN_POLICY": value})
        return service.environment(backend, region="us-west-2", with_tickets=False)

    assert environment("interrupt")["COACHSTREAM_TURN_POLICY"] == "interrupt"
    with pytest.raises(SettingsError, match="COACHSTREAM_TURN_POLICY"):
        environment("whatever")


def test_recall_without_a_key_is_refused() -> None:
    """It would be off without notice."""
    from coachstream.infrastructure.backend import Backend
    from coachstream.infrastructure.service import PineconeIndex, Service

    backend = Backend(table="a-table", user_pool_id="us-west-2_Pool1", client_ids=("client1",))
    service = Service(recall=PineconeIndex(host="i-abc.svc.pinecone.io"))
    with pytest.raises(ValueError, match="needs the secret"):
        service.environment(backend, region="us-west-2", with_tickets=False)


def test_a_fallback_in_the_stacks_own_region_may_have_the_guardrail() -> None:
    """The guardrail exists in that region only; a service without a region runs in the stack's."""
    from coachstream.infrastructure.backend import Backend
    from coachstream.infrastructure.service import Service
    from coachstream.settings import BedrockSettings, Fallback, Guardrail, SettingsError

    backend = Backend(table="a-table", user_pool_id="us-west-2_Pool1", client_ids=("client1",))
    model = BedrockSettings("m", guardrail=Guardrail("g"), fallback=Fallback(region="eu-west-1"))
    service = Service(model=model)
    assert service.environment(backend, region="eu-west-1", with_tickets=False)
    with pytest.raises(SettingsError, match="COACHSTREAM_FALLBACK_REGION"):
        service.environment(backend, region="eu-central-1", with_tickets=False)


def test_a_pool_without_clients_is_refused() -> None:
    """No token would be accepted."""
    from coachstream.infrastructure.backend import Backend

    with pytest.raises(ValueError, match="name at least one app client"):
        Backend(table="a-table", user_pool_id="us-west-2_Pool1", client_ids=())


@given(st.from_regex(r"[A-Za-z0-9/_+=.@-]{1,40}", fullmatch=True), st.booleans())
def test_a_secret_is_named_by_its_whole_arn(name: str, is_whole: bool) -> None:
    """Policies need the six-character suffix, so the name alone is not enough."""
    from coachstream.infrastructure.backend import Backend

    arn = f"{SECRET}:{name}-Ab12Cd" if is_whole else name

    def backend() -> Backend:
        return Backend(
            table="a-table", user_pool_id="us-west-2_Pool1", client_ids=("client1",), ticket_key_arn=arn
        )

    if is_whole:
        assert backend().ticket_key_arn == arn
    else:
        with pytest.raises(ValueError, match="is not the full ARN of a secret"):
            backend()
