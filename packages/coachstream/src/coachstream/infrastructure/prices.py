"""List prices that docs/explanation/cost.md calculates with; needs no CDK. A test compares the two."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import msgspec

from coachstream.dated_facts import Provenance

REGION = "us-east-1"


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """A price in US dollars; as text, so that every digit is compared."""

    dollars: str
    per: str
    provenance: Provenance


def _price(dollars: str, per: str, page: str) -> Price:
    source = f"https://aws.amazon.com/{page}/pricing/, {REGION}"
    return Price(dollars=dollars, per=per, provenance=Provenance(source=source, looked_up=date(2026, 11, 23)))


PRICES: Mapping[str, Price] = {
    "Lambda, 2048 MB on Graviton": _price("0.0000133334", "GB-s", "lambda"),
    "Lambda, requests": _price("0.20", "million", "lambda"),
    "DynamoDB, writes": _price("0.625", "million", "dynamodb/on-demand"),
    "DynamoDB, reads": _price("0.125", "million", "dynamodb/on-demand"),
    "CloudWatch, logs": _price("0.50", "GB", "cloudwatch"),
    "CloudWatch, an alarm": _price("0.10", "month", "cloudwatch"),
    "CloudWatch, a dashboard": _price("3", "month", "cloudwatch"),
    "CloudWatch, a metric": _price("0.30", "month", "cloudwatch"),
    "API Gateway, REST requests": _price("3.50", "million", "api-gateway"),
    "Claude Sonnet, input": _price("3", "million", "bedrock"),
    "Claude Sonnet, output": _price("15", "million", "bedrock"),
}
"""Prices by item: a row of the page, or a phrase in it."""

DATED_FACTS: Mapping[str, Provenance] = {
    f"{name}: ${price.dollars} per {price.per}": price.provenance for name, price in PRICES.items()
}
