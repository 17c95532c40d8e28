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


def stack_of(app: App, environment: Mapping[str, str]) -> CoachStreamStack:
    """Define the stack that the app's context and the environment describe.

    Raises:
        ValueError, SettingsError: they describe none; the message says what is missing or wrong.
    """
    told = o.Told(app.node.get_all_context(), environment)
    package = Path(told.text(o.PACKAGE) or "")
    if not package.exists():
        raise o.OptionsError(f"there is no package at {package}; `coachstream package` makes one")
    options = FunctionOptions(
        code=lambda_.Code.from_asset(str(package)),
        memory_mb=told.whole_number(o.MEMORY_MB) or 0,
        timeout_s=told.whole_number(o.TIMEOUT_S) or 0,
        log_retention=_retention(told),
        keep_log=told.boolean(o.KEEP_LOGS),
        snap_start=told.boolean(o.SNAP_START),
    )
    return CoachStreamStack(
        app,
        told.text(o.STACK_NAME) or "",
        options=options,
        stream_options=msgspec.structs.replace(
            options, reserved_concurrency=told.whole_number(o.RESERVED_CONCURRENCY)
        ),
        cors=Cors(origins=told.texts(o.CORS_ORIGINS), allow_any_origin=told.boolean(o.ALLOW_ANY_ORIGIN)),
        service=_service(told),
        existing=Existing(
            table_name=told.text(o.TABLE_NAME),
            user_pool_id=told.text(o.USER_POOL_ID),
            client_ids=told.texts(o.CLIENT_IDS),
            pinecone_secret_arn=told.text(o.PINECONE_SECRET_ARN),
            ticket_key_secret_arn=told.text(o.TICKET_KEY_SECRET_ARN),
        ),
        alarms=AlarmOptions(topic_arn=told.text(o.ALARM_TOPIC_ARN)) if told.boolean(o.ALARMS) else None,
        dashboard=told.boolean(o.DASHBOARD),
        env=Environment(
            account=environment.get("CDK_DEFAULT_ACCOUNT"), region=environment.get("CDK_DEFAULT_REGION")
        ),
    )


def _service(told: o.Told) -> Service:
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
        recall=None if host is None else PineconeIndex(host=host, rerank_model=told.text(o.RERANK_MODEL)),
        hand_offs=HandOffs(
            workout_function=told.text(o.WORKOUT_FUNCTION), summary_function=told.text(o.SUMMARY_FUNCTION)
        ),
        mirror_messages=told.boolean(o.MIRROR_MESSAGES),
        logs=Logs(level=_level(told), metrics_namespace=told.text(o.METRICS_NAMESPACE)),
    )


def _level(told: o.Told) -> LogLevel:
    text = told.text(o.LOG_LEVEL)
    if text not in set(LogLevel):
        raise o.OptionsError(f"{o.LOG_LEVEL.name} is {text!r}; it is one of {', '.join(LogLevel)}")
    return LogLevel(text)


def _retention(told: o.Told) -> logs.RetentionDays:
    days = told.whole_number(o.LOG_RETENTION_DAYS)
    if days not in _RETENTION:
        known = ", ".join(map(str, _RETENTION))
        raise o.OptionsError(f"{o.LOG_RETENTION_DAYS.name} is {days}; it is one of {known}")
    return _RETENTION[days]


def main() -> None:
    """Write the assembly that `cdk` reads; a wrong option ends it with one line and no traceback."""
    app = App()
    try:
        stack_of(app, os.environ)
    except (ValueError, SettingsError) as error:
        print(f"coachstream: {error}", file=sys.stderr)  # noqa: T201 (cdk shows it)
        raise SystemExit(_WRONG_USAGE) from None
    app.synth()


if __name__ == "__main__":
    main()
