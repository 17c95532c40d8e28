"""The runtime and CPU of the functions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from coachstream.dated_facts import Provenance

PYTHON = "3.14"
"""The newest managed Python runtime that Lambda lists as generally available (Lambda developer guide,
"Lambda runtimes"); 3.15 is a public preview, which the guide does not recommend for production."""

DATED_FACTS: Mapping[str, Provenance] = {
    "Lambda's managed Python runtimes cannot stream a response by themselves": Provenance(
        source='Lambda developer guide, "Response streaming for Lambda functions"',
        looked_up=date(2026, 11, 27),
    ),
    "Amazon Linux 2023, of runtimes and base images, gets updates": Provenance(
        source='Amazon Linux 2023 user guide, "Release cadence"; https://endoflife.date/amazon-linux',
        looked_up=date(2026, 11, 27),
        ends=date(2029, 6, 30),
    ),
    f"Lambda's managed runtime python{PYTHON}, which is the newest and not deprecated": Provenance(
        source='Lambda developer guide, "Lambda runtimes"; https://endoflife.date/aws-lambda',
        looked_up=date(2026, 11, 27),
        ends=date(2029, 6, 30),
    ),
}

ARCHITECTURE = "arm64"
"""Graviton: a fifth cheaper per GB-second, and it supports SnapStart (Lambda developer guide,
"Improving startup performance with Lambda SnapStart": Python 3.12 and later, no limit to an architecture)."""

PACKAGED_KEYS = "cognito-jwks.json"
"""The user pool's keys, at the root of a package built with `coachstream package --jwks-of`."""

PACKAGE_TARGET = "coachstream-package.json"
"""A package's target, in its root folder: `{"python": "3.14", "cpu": "arm64"}`."""

EXEC_WRAPPER = "/var/task/lambda_streaming/exec-wrapper"
"""Starts our runtime instead of the managed one, which cannot stream (AWS_LAMBDA_EXEC_WRAPPER)."""
