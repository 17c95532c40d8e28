"""What code and pages say about third-party services matches the dated tables."""

from __future__ import annotations

import ast
import re

import pytest

from coachstream.deployment.toolkit import NODE_SUPPORTED
from coachstream.infrastructure.deploy_options import MAX_ORIGINS
from coachstream.infrastructure.inference_profiles import CONTINENTS, REGIONS
from coachstream.infrastructure.prices import PRICES, REGION
from coachstream.infrastructure.quotas import QUOTAS
from coachstream.infrastructure.target import PYTHON
from coachstream.storage.dynamodb.mirror import MOST_ITEM_BYTES
from lambda_streaming.emulator.front_doors.load_balancer import MAX_BODY_BYTES
from lambda_streaming.function_url.cors import MAX_AGE_LIMIT_S
from lambda_streaming.function_url.in_process import MAX_TIMEOUT_S
from lambda_streaming.function_url.limits import (
    MAX_ASYNCHRONOUS_PAYLOAD_BYTES,
    MAX_BUFFERED_RESPONSE_BYTES,
    MAX_REQUEST_PAYLOAD_BYTES,
    MAX_STREAMED_RESPONSE_BYTES,
    MIB,
    Bandwidth,
)
from lambda_streaming.packaging.sizes import MOST_UNZIPPED
from support.places import ROOT

DOCS = ROOT / "docs"
COST = (DOCS / "explanation" / "cost.md").read_text()
LIMITS = (DOCS / "explanation" / "limits.md").read_text()
CLOUDFRONT = (DOCS / "how-to" / "cloudfront.md").read_text()
CUSTOM_DOMAIN = (DOCS / "how-to" / "custom-domain.md").read_text()
FIRST_DEPLOYMENT = (DOCS / "tutorials" / "first-deployment.md").read_text()
AMPLIFY = ROOT / "deploy" / "amplify" / "functions" / "stream-coach-conversation"


def quota(name: str) -> float:
    return QUOTAS[name].value


def test_each_row_of_the_costs_has_the_price_of_the_table() -> None:
    """The name of the model's version does not matter."""
    rows = re.findall(r"^\| ([^|]+?) \|[^|]+\| \$([\d.]+) per (\S+) \|", COST, re.MULTILINE)
    priced = {re.sub(r"(Claude Sonnet) [\d.]+", r"\1", name): (dollars, per) for name, dollars, per in rows}
    assert len(priced) >= 7
    assert priced == {name: (PRICES[name].dollars, PRICES[name].per) for name in priced}


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("CloudWatch, an alarm", "Alarms (${} each a month)"),
        ("CloudWatch, a dashboard", "the dashboard (${} a month)"),
        ("CloudWatch, a metric", "the metrics (${} each a month)"),
        ("API Gateway, REST requests", "${} per million requests"),
    ],
)
def test_prices_in_running_text_are_those_of_the_table(name: str, phrase: str) -> None:
    """They match to the cent."""
    assert phrase.format(PRICES[name].dollars) in COST + CUSTOM_DOMAIN


def test_the_page_says_where_and_when_its_prices_were_looked_up() -> None:
    """The page gives the month of the oldest price."""
    oldest = min(price.provenance.looked_up for price in PRICES.values())
    assert f"List prices of {REGION} in {oldest:%B %Y}" in COST


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("a streamed response of Lambda", MAX_STREAMED_RESPONSE_BYTES / MIB),
        ("what Lambda streams at any speed", Bandwidth().burst_bytes / MIB),
        ("the speed of a response of Lambda after that", Bandwidth().bytes_per_s / MIB),
        ("a request and a buffered response of Lambda", MAX_REQUEST_PAYLOAD_BYTES / MIB),
        ("a request and a buffered response of Lambda", MAX_BUFFERED_RESPONSE_BYTES / MIB),
        ("an asynchronous event of Lambda", MAX_ASYNCHRONOUS_PAYLOAD_BYTES / MIB),
        ("a request and a result of a load balancer's function", MAX_BODY_BYTES / MIB),
        ("an invocation of Lambda", MAX_TIMEOUT_S / 60),
        ("an unzipped package of Lambda", MOST_UNZIPPED / 1_000_000),
        ("origins of a Function URL", MAX_ORIGINS),
        ("how long a preflight is remembered", MAX_AGE_LIMIT_S),
    ],
)
def test_a_limit_in_the_code_is_the_one_of_the_table(name: str, used: float) -> None:
    """These are the service limits that the code enforces itself."""
    assert used == quota(name)


def test_a_mirrored_conversation_stays_below_the_largest_item() -> None:
    """This leaves room for what the existing functions write."""
    assert quota("an item of DynamoDB") * 1024 > MOST_ITEM_BYTES


@pytest.mark.parametrize(
    ("phrase", "names"),
    [
        ("| a streamed response | {:g} MB |", ["a streamed response of Lambda"]),
        (
            "| {:g} MB/s after the first {:g} MB |",
            ["the speed of a response of Lambda after that", "what Lambda streams at any speed"],
        ),
        ("| an invocation | {:g} minutes;", ["an invocation of Lambda"]),
        ("| a request | {:g} MB |", ["a request and a buffered response of Lambda"]),
        (
            "| {:,.0f} an account and region, until raised; {:g} requests a second for each |",
            [
                "concurrent invocations of an account, until raised",
                "requests a second for each concurrent invocation",
            ],
        ),
        ("| an item in DynamoDB | {:g} KB |", ["an item of DynamoDB"]),
        (
            "{:g} s at CloudFront, {:g} minutes at API Gateway",
            ["silence of an origin of CloudFront", "silence of a stream of API Gateway"],
        ),
        ("| environment variables | {:g} KB together |", ["environment variables of a function"]),
    ],
)
def test_a_limit_on_the_page_is_the_one_of_the_table(phrase: str, names: list[str]) -> None:
    """The page states it in these words."""
    assert phrase.format(*map(quota, names)) in LIMITS


def test_the_timeouts_of_services_in_front_match_the_table() -> None:
    """These are CloudFront's response timeout and API Gateway's idle timeout, as the guides name them."""
    assert f"at least {quota('silence of an origin of CloudFront'):g} s" in CLOUDFRONT
    assert f"| silence | {quota('silence of a stream of API Gateway'):g} minutes;" in CUSTOM_DOMAIN


def test_the_readme_has_the_limits_of_the_table() -> None:
    """Lambda limits responses, and the project cannot change that."""
    said = "{:g} MB a response, {:g} MB/s after the first {:g} MB, {:g} minutes."
    names = (
        "a streamed response of Lambda",
        "the speed of a response of Lambda after that",
        "what Lambda streams at any speed",
        "an invocation of Lambda",
    )
    assert said.format(*map(quota, names)) in (ROOT / "README.md").read_text()


def test_the_versions_on_the_page_are_those_that_are_used() -> None:
    """The page names the Node.js for a deployment and the Python of the functions."""
    assert f"Node.js {NODE_SUPPORTED} or newer" in FIRST_DEPLOYMENT
    assert f"Python {PYTHON} on Graviton" in FIRST_DEPLOYMENT


def test_the_image_has_the_python_that_is_deployed() -> None:
    """It is the default of the build argument."""
    dockerfile = (ROOT / "deploy" / "container" / "Dockerfile").read_text()
    assert f"ARG PYTHON={PYTHON}\n" in dockerfile


def constant_of(name: str, source: str) -> object:
    """A constant of a TypeScript file, read as a Python literal once its keys are quoted."""
    literal = re.search(rf"^const {name}\b[^=]*= (\{{.*?\}});$", source, re.MULTILINE | re.DOTALL)
    assert literal, name
    return ast.literal_eval(re.sub(r"(?<=[{{,\s])([a-z]+):", r'"\1":', literal[1]))


def test_the_amplify_function_knows_the_same_regions() -> None:
    """The list cannot be imported, so it is compared."""
    source = (AMPLIFY / "models.ts").read_text()
    regions = constant_of("REGIONS", source)
    assert regions == {geography: list(names) for geography, names in REGIONS.items()}
    assert constant_of("CONTINENTS", source) == dict(CONTINENTS)
