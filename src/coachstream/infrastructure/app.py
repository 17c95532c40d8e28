"""The program that `cdk` runs: `cdk deploy --app "python -m coachstream.infrastructure.app"`.

What it may be told is in `options`; account and region are those of `cdk`'s own credentials.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from aws_cdk import App, Environment
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs

from coachstream.infrastructure import options as o
from coachstream.infrastructure.alarms import AlarmOptions
from coachstream.infrastructure.cors import Cors
from coachstream.infrastructure.function import FunctionOptions
from coachstream.infrastructure.package_contents import check_target, packaged_keys
from coachstream.infrastructure.service import DEFAULT_MODEL_ID, PineconeIndex, Service
from coachstream.infrastructure.stack import CoachStreamStack, Existing
from coachstream.settings import (
    BedrockSettings,
    Fallback,
    Guardrail,
    HandOffs,
    LogLevel,
    Logs,
    SettingsError,
)

_RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    731: logs.RetentionDays.TWO_YEARS,
    3653: logs.RetentionDays.TEN_YEARS,
}
_WRONG_USAGE = 2

# CloudFormation API reference, "CreateStack"; Lambda API reference, "CreateFunction"; SNS API reference.
_STACK_NAME = r"[A-Za-z][A-Za-z0-9-]{0,127}"
_MEMORY_MB = (128, 10_240)
_TIMEOUT_S = (10, 900)
"""A turn keeps three seconds for its reply to be stored in."""
_TOPIC_ARN = r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]{1,256}"
_MOST_CONCURRENCY = 1_000_000
"""The account's own limit is known to AWS alone."""

REFUSALS = (ValueError, SettingsError)
"""What a deployment was told is wrong, in one line."""


def stack_of(app: App, environment: Mapping[str, str]) -> CoachStreamStack:
    """Define the stack that the app's context and the environment describe.

    Raises:
        ValueError, SettingsError: they describe none; the message says what is missing or wrong.
    """
    told = o.Told(app.node.get_all_context(), environment)
    package = Path(told.text(o.PACKAGE) or "")
    if not package.exists():
        raise o.OptionsError(f"there is no package at {package}; `coachstream package` makes one")
    check_target(package)
    options = FunctionOptions(
        code=lambda_.Code.from_asset(str(package)),
        memory_mb=_number(told, o.MEMORY_MB, *_MEMORY_MB),
        timeout_s=_number(told, o.TIMEOUT_S, *_TIMEOUT_S),
        log_retention=_retention(told),
        keep_log=told.boolean(o.KEEP_LOGS),
        snap_start=told.boolean(o.SNAP_START),
    )
    return CoachStreamStack(
        app,
        told.matching(o.STACK_NAME, _STACK_NAME, "a letter, then letters, digits and dashes") or "",
        options=options,
        stream_options=msgspec.structs.replace(
            options,
            reserved_concurrency=told.whole_number(o.RESERVED_CONCURRENCY, least=0, most=_MOST_CONCURRENCY),
        ),
        cors=Cors(origins=told.texts(o.CORS_ORIGINS), allow_any_origin=told.boolean(o.ALLOW_ANY_ORIGIN)),
        service=_service(told),
        existing=Existing(
            table_name=told.text(o.TABLE_NAME),
            user_pool_id=told.text(o.USER_POOL_ID),
            client_ids=told.texts(o.CLIENT_IDS),
            packaged_keys=packaged_keys(package, told.text(o.USER_POOL_ID)),
            pinecone_secret_arn=told.text(o.PINECONE_SECRET_ARN),
            ticket_key_secret_arn=told.text(o.TICKET_KEY_SECRET_ARN),
            kms_key_arns=told.texts(o.KMS_KEY_ARNS),
        ),
        alarms=_alarms(told),
        dashboard=told.boolean(o.DASHBOARD),
        env=Environment(
            account=environment.get("CDK_DEFAULT_ACCOUNT"), region=environment.get("CDK_DEFAULT_REGION")
        ),
    )


def _service(told: o.Told) -> Service:
    told.needs(o.GUARDRAIL_VERSION, o.GUARDRAIL_ID)
    told.needs(o.GUARDRAIL_PROFILES, o.GUARDRAIL_ID)
    told.needs(o.PINECONE_SECRET_ARN, o.PINECONE_INDEX_HOST)
    told.needs(o.RERANK_MODEL, o.PINECONE_INDEX_HOST)
    guardrail, host = told.text(o.GUARDRAIL_ID), told.text(o.PINECONE_INDEX_HOST)
    fallback = told.text(o.FALLBACK_MODEL_ID), told.text(o.FALLBACK_REGION)
    return Service(
        model=BedrockSettings(
            told.text(o.MODEL_ID) or DEFAULT_MODEL_ID,
            region=told.text(o.MODEL_REGION),
            guardrail=None
            if guardrail is None
            else Guardrail(guardrail, told.text(o.GUARDRAIL_VERSION) or ""),
            fallback=Fallback(*fallback) if any(fallback) else None,
        ),
        foundation_models=told.texts(o.FOUNDATION_MODELS),
        guardrail_profiles=told.texts(o.GUARDRAIL_PROFILES),
        recall=None if host is None else PineconeIndex(host=host, rerank_model=told.text(o.RERANK_MODEL)),
        hand_offs=HandOffs(
            workout_function=told.text(o.WORKOUT_FUNCTION), summary_function=told.text(o.SUMMARY_FUNCTION)
        ),
        mirror_messages=told.boolean(o.MIRROR_MESSAGES),
        logs=Logs(level=_level(told), metrics_namespace=told.text(o.METRICS_NAMESPACE)),
    )


def _alarms(told: o.Told) -> AlarmOptions | None:
    topic = told.matching(o.ALARM_TOPIC_ARN, _TOPIC_ARN, "the ARN of an SNS topic")
    return AlarmOptions(topic_arn=topic) if told.boolean(o.ALARMS) else None


def _number(told: o.Told, option: o.Option, least: int, most: int) -> int:
    """The number of an option that has a default."""
    number = told.whole_number(option, least=least, most=most)
    assert number is not None  # noqa: S101 (narrows the type)
    return number


def _level(told: o.Told) -> LogLevel:
    text = told.text(o.LOG_LEVEL)
    if text not in set(LogLevel):
        raise o.OptionsError(f"{o.LOG_LEVEL.name} is {text!r}; it is one of {', '.join(LogLevel)}")
    return LogLevel(text)


def _retention(told: o.Told) -> logs.RetentionDays:
    days = _number(told, o.LOG_RETENTION_DAYS, 1, max(_RETENTION))
    if days not in _RETENTION:
        known = ", ".join(map(str, _RETENTION))
        raise o.OptionsError(f"{o.LOG_RETENTION_DAYS.name} is {days}; it is one of {known}")
    return _RETENTION[days]


def main() -> None:
    """Write the assembly that `cdk` reads; a wrong option ends it with one line and no traceback."""
    app = App()
    try:
        stack_of(app, os.environ)
    except REFUSALS as error:
        print(f"coachstream: {error}", file=sys.stderr)  # noqa: T201 (cdk shows it)
        raise SystemExit(_WRONG_USAGE) from None
    app.synth()


if __name__ == "__main__":
    main()
