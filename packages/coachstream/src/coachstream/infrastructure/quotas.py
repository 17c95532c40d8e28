"""Limits of AWS's services that code and docs/explanation rely on; needs no CDK. A test compares them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import msgspec

from coachstream.dated_facts import Provenance


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """A quota of a service, with its unit."""

    value: float
    unit: str
    provenance: Provenance


def _quota(value: float, unit: str, source: str, looked_up: date = date(2026, 11, 23)) -> Quota:
    return Quota(value=value, unit=unit, provenance=Provenance(source=source, looked_up=looked_up))


_LAMBDA_QUOTAS = 'Lambda developer guide, "Lambda quotas"'
_LAMBDA_STREAMING = 'Lambda developer guide, "Response streaming for Lambda functions"'
_API_GATEWAY_STREAMING = 'API Gateway developer guide, "Stream the integration response"'
_ALB = 'Elastic Load Balancing user guide, "Use Lambda functions as targets"'

QUOTAS: Mapping[str, Quota] = {
    "a streamed response of Lambda": _quota(200, "MB", _LAMBDA_STREAMING, date(2026, 11, 27)),
    "what Lambda streams at any speed": _quota(6, "MB", _LAMBDA_STREAMING, date(2026, 11, 27)),
    "the speed of a response of Lambda after that": _quota(2, "MB/s", _LAMBDA_STREAMING, date(2026, 11, 27)),
    "a request and a buffered response of Lambda": _quota(6, "MB", _LAMBDA_QUOTAS),
    "an asynchronous event of Lambda": _quota(1, "MB", "Lambda API reference, Invoke", date(2026, 11, 28)),
    "an invocation of Lambda": _quota(15, "minutes", _LAMBDA_QUOTAS),
    "an unzipped package of Lambda": _quota(250, "MB", _LAMBDA_QUOTAS),
    "environment variables of a function": _quota(4, "KB", _LAMBDA_QUOTAS),
    "concurrent invocations of an account, until raised": _quota(1000, "", _LAMBDA_QUOTAS),
    "requests a second for each concurrent invocation": _quota(10, "", _LAMBDA_QUOTAS),
    "origins of a Function URL": _quota(100, "", "Lambda API reference, Cors"),
    "how long a preflight is remembered": _quota(86_400, "s", "Lambda API reference, Cors"),
    "a request and a result of a load balancer's function": _quota(1, "MB", _ALB, date(2026, 11, 28)),
    "an item of DynamoDB": _quota(400, "KB", 'DynamoDB developer guide, "Quotas in Amazon DynamoDB"'),
    "silence of an origin of CloudFront": _quota(30, "s", 'CloudFront developer guide, "Response timeout"'),
    "silence of a stream of API Gateway": _quota(5, "minutes", _API_GATEWAY_STREAMING),
}
"""Quotas by subject."""

DATED_FACTS: Mapping[str, Provenance] = {
    " ".join(f"{name}: {quota.value:g} {quota.unit}".split()): quota.provenance
    for name, quota in QUOTAS.items()
}
