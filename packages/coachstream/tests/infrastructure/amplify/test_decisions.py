"""The drop-in makes the same decisions as the Python constructs, case by case, refusals included."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coachstream.settings import BedrockSettings, Fallback, Guardrail, HandOffs, variables
from support.amplify import Apps
from support.templates import Template

ACCOUNT = "123456789012"
SECRET = f"arn:aws:secretsmanager:us-west-2:{ACCOUNT}:secret"
KEY = f"arn:aws:kms:us-west-2:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NOVA = "amazon.nova-pro-v1:0"
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
APPLICATION = f"arn:aws:bedrock:us-west-2:{ACCOUNT}:application-inference-profile/abc123"
BEHIND = [f"arn:aws:bedrock:{region}::foundation-model/{HAIKU}" for region in ("us-west-2", "us-west-1")]

Case = dict[str, Any]
Decide = Callable[[list[Case]], list[Any]]


@pytest.fixture(scope="session")
def decide(apps: Apps, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decide]:
    """Ask the drop-in; a refusal is None."""
    folder = apps.backend("usual").parent / "functions" / "stream-coach-conversation"
    log = tmp_path_factory.mktemp("decide") / "log"
    # One process for all cases: loading CDK takes longer than deciding.
    with apps.started(log, apps.folder / "decide.mjs", folder) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def decide(cases: list[Case]) -> list[Any]:
            stdin.write(f"{json.dumps(cases)}\n")
            stdin.flush()
            line = stdout.readline()
            assert line, log.read_text()
            outcomes: list[Any] = json.loads(line)
            assert len(outcomes) == len(cases)
            return [
                None if isinstance(outcome, dict) and "refused" in outcome else _resolved(outcome)
                for outcome in outcomes
            ]

        yield decide


def _resolved(value: object) -> Any:  # noqa: ANN401 (JSON has that many)
    return Template({"Resources": {}}).resolve(value)


def _or_none(ask: Callable[[], Any]) -> Any:  # noqa: ANN401 (JSON has that many)
    try:
        return ask()
    except ValueError:
        return None


def test_the_same_models_are_behind_a_name(decide: Decide) -> None:
    """In every region, and with or without listed foundation models."""
    from aws_cdk import App, Environment, Stack

    from coachstream.infrastructure.models import model_access

    names = (NOVA, f"global.{HAIKU}", APPLICATION, f"{APPLICATION[:-6]}x", "us.nothing", "xy.a.b")
    profiles = [f"{geography}.{HAIKU}" for geography in ("us", "us-gov", "eu", "apac", "jp", "au", "ca")]
    arns = [f"arn:aws:bedrock:us-east-2:{ACCOUNT}:inference-profile/us.{HAIKU}"]
    arns += [
        f"arn:aws:bedrock:us-west-2:{ACCOUNT}:{kind}/x" for kind in ("provisioned-model", "prompt-router")
    ]
    here = ("us-west-2", "ca-central-1", "eu-west-1", "eu-west-2", "ap-northeast-1")
    cases = [
        {
            "kind": "access",
            "modelId": name,
            "stackRegion": stack,
            "region": region,
            "foundationModels": told,
        }
        for name, stack, region, told in itertools.product(
            (*names, *profiles, *arns), here, (None, "us-east-1"), ([], BEHIND)
        )
    ]
    stacks = {region: Stack(App(), "S", env=Environment(account=ACCOUNT, region=region)) for region in here}

    def expected(case: Case) -> dict[str, Any]:
        stack = stacks[case["stackRegion"]]
        found = model_access(
            stack,
            case["modelId"],
            region=case["region"],
            foundation_models=tuple(case["foundationModels"]),
        )
        access = {"invoked": found.invoked, "behind": list(found.behind)}
        resolved: dict[str, Any] = _resolved(stack.resolve(access))
        return resolved

    ours = [_or_none(lambda case=case: expected(case)) for case in cases]  # type: ignore[misc]
    assert None in ours
    different = [(c, o, t) for c, o, t in zip(cases, ours, decide(cases), strict=True) if o != t]
    assert different == []


def test_the_same_origins_may_call(decide: Decide) -> None:
    """Origins as browsers send them, at most a hundred; any origin only if explicitly allowed."""
    from coachstream.infrastructure.cors import Cors

    origins = ["https://app.example.com", "http://localhost:5173", "http://[::1]:8080", "", "app.example.com"]
    origins += ["https://app.example.com/", "https://*.example.com", "ftp://a.example", "https://a:123456"]
    origins += ["https://app.example.com\n", "\nhttps://app.example.com", "null", "*", "https://a b"]
    several: list[list[str]] = [[], *([origin] for origin in origins)]
    several += [[f"https://a{each}.example.com" for each in range(number)] for number in (100, 101)]
    cases: list[Case] = [
        {"kind": "cors", "origins": each, "allowAnyOrigin": allowed, "maxAgeS": age}
        for each, allowed, age in itertools.product(several, (False, True), (0, 86_400, 86_401, -1))
    ]

    def expected(case: Case) -> list[str]:
        cors = Cors(
            origins=tuple(case["origins"]),
            allow_any_origin=case["allowAnyOrigin"],
            max_age_s=case["maxAgeS"],
        )
        return list(cors.origins)

    ours = [_or_none(lambda case=case: expected(case)) for case in cases]  # type: ignore[misc]
    different = [(c, o, t) for c, o, t in zip(cases, ours, decide(cases), strict=True) if o != t]
    assert different == []


def test_the_same_variables_can_be_set(decide: Decide) -> None:
    """All variables except those that have a field, are secret, or belong to the demo."""
    from coachstream.infrastructure.service import Service

    names = [variable.name for variable in variables.VARIABLES]
    cases: list[Case] = [
        {"kind": "environment", "service": {"table": "a-table", "variables": {name: "1"}}}
        for name in [*names, "PATH", "COACHSTREAM_LEASE"]
    ]
    theirs = {
        name for name, outcome in zip(names, decide(cases)[: len(names)], strict=True) if outcome is not None
    }
    ours = {name for name in names if _or_none(lambda name=name: Service(variables={name: "1"}))}  # type: ignore[misc]
    assert theirs == ours
    assert decide(cases)[len(names) :] == [None, None]


def test_what_would_fail_at_run_time_is_refused(decide: Decide) -> None:
    """Secrets and keys need their full ARNs; a guardrail works in one region only."""
    guarded = {"region": "us-east-1", "guardrail": {"id": "g"}}
    right: list[Case] = [
        {"ticketKeySecretArn": f"{SECRET}:tickets-d4E5f6"},
        {"recall": {"indexHost": "h", "apiKeySecretArn": f"{SECRET}:pinecone-a1B2c3"}},
        {"kmsKeyArns": [KEY]},
        {"model": {**guarded, "fallback": {"id": NOVA}}},
        {"model": {**guarded, "fallback": {"id": NOVA, "region": "us-east-1"}}},
    ]
    wrong: list[Case] = [
        {"ticketKeySecretArn": f"{SECRET}:tickets"},
        {"recall": {"indexHost": "h", "apiKeySecretArn": "pc-key"}},
        {"kmsKeyArns": [f"arn:aws:kms:us-west-2:{ACCOUNT}:alias/mine"]},
        {"model": {**guarded, "fallback": {"region": "us-east-2"}}},
        {"model": {"guardrail": {"id": "g"}, "fallback": {"region": "us-east-1"}}},
    ]
    outcomes = decide(
        [{"kind": "environment", "service": {"table": "a-table", **each}} for each in (*right, *wrong)]
    )
    assert None not in outcomes[: len(right)]
    assert outcomes[len(right) :] == [None] * len(wrong)


def test_what_cannot_be_called_from_here_is_refused(decide: Decide) -> None:
    """A backend in the resource's own region accepts it."""
    there = f"us-east-1:{ACCOUNT}"
    services: list[Case] = [
        {"table": f"arn:aws:dynamodb:{there}:table/Elsewhere"},
        {"table": "t", "handOffs": {"workoutFunction": f"arn:aws:lambda:{there}:function:workout"}},
        {"table": "t", "model": {"guardrail": {"id": f"arn:aws:bedrock:{there}:guardrail/g"}}},
    ]
    for region, is_accepted in (("us-west-2", False), ("us-east-1", True)):
        cases: list[Case] = [
            {"kind": "statements", "service": service, "stackRegion": region} for service in services
        ]
        assert [outcome is not None for outcome in decide(cases)] == [is_accepted] * len(services)


def test_the_same_is_allowed(decide: Decide) -> None:
    """Tables and functions in every form of name; a fallback equal to the model counts once."""
    from aws_cdk import App, Environment, Stack

    from coachstream.infrastructure.backend import Backend
    from coachstream.infrastructure.permissions import Needs, statements
    from coachstream.infrastructure.service import Service

    table = "arn:aws:dynamodb:us-west-2:210987654321:table/Elsewhere"
    guardrail = f"arn:aws:bedrock:us-west-2:{ACCOUNT}:guardrail/gr1abc"
    pairs: list[tuple[Case, Backend, Service]] = [
        ({"table": table}, _backend(table), Service()),
        *(
            (
                {"table": "a-table", "handOffs": {"workoutFunction": name, "summaryFunction": "summary"}},
                _backend("a-table"),
                Service(hand_offs=HandOffs(workout_function=name, summary_function="summary")),
            )
            for name in (
                "workout",
                "summary",
                "210987654321:workout",
                "210987654321:function:workout",
                f"arn:aws:lambda:us-west-2:{ACCOUNT}:function:workout",
            )
        ),
        *(
            (
                {
                    "table": "a-table",
                    "model": {"id": f"us.{HAIKU}", "region": "us-east-1", "fallback": fallback},
                },
                _backend("a-table"),
                Service(
                    model=BedrockSettings(
                        f"us.{HAIKU}",
                        region="us-east-1",
                        fallback=Fallback(fallback.get("id"), fallback.get("region")),
                    )
                ),
            )
            for fallback in (
                {"id": f"us.{HAIKU}"},
                {"region": "us-east-1"},
                {"region": "us-east-2"},
                {"id": f"global.{HAIKU}", "region": "eu-west-1"},
                {"id": NOVA},
            )
        ),
        *(
            (
                {"table": "a-table", "model": {"id": model_id, "region": region, "analysisId": analysis_id}},
                _backend("a-table"),
                Service(model=BedrockSettings(model_id, region=region, analysis_model_id=analysis_id)),
            )
            for model_id, region, analysis_id in (
                (f"us.{HAIKU}", "us-east-1", "Off"),
                (f"us.{HAIKU}", "us-east-1", NOVA),
                (HAIKU, "us-east-1", f"us.{NOVA}"),
            )
        ),
        (
            {"table": "a-table", "model": {"guardrail": {"id": guardrail}}, "kmsKeyArns": [KEY]},
            _backend("a-table", kms_key_arns=(KEY,)),
            Service(model=BedrockSettings(variables.MODEL_ID.default or "", guardrail=Guardrail(guardrail))),
        ),
    ]
    stack = Stack(App(), "S", env=Environment(account=ACCOUNT, region="us-west-2"))
    ours = [
        [
            _resolved(stack.resolve(statement.to_statement_json()))
            for statement in statements(stack, backend, service, Needs(tickets=True))
        ]
        for _, backend, service in pairs
    ]
    cases: list[Case] = [
        {"kind": "statements", "service": theirs, "stackRegion": "us-west-2"} for theirs, *_ in pairs
    ]
    assert decide(cases) == ours


def _backend(table: str, *, kms_key_arns: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 (imports CDK)
    from coachstream.infrastructure.backend import Backend

    return Backend(
        table=table,
        user_pool_id="us-west-2_Pool1",
        client_ids=("client1",),
        ticket_key_arn=f"{SECRET}:tickets-d4E5f6",
        kms_key_arns=kms_key_arns,
    )
