"""The program that `cdk` runs: `cdk deploy --app "python -m coachstream.infrastructure.app"`.

`options` lists its options; account and region are those of `cdk`'s credentials.
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
from coachstream.infrastructure.deploy_options import DeployOptions
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

RETENTION = {
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

REFUSALS = (ValueError, SettingsError)
"""The errors of an invalid configuration."""


def stack_of(app: App, environment: Mapping[str, str]) -> CoachStreamStack:
    """Define the stack that the app's context and the environment configure.

    Raises:
        ValueError, SettingsError: the configuration is invalid; the message lists the errors.
    """
    given = DeployOptions(app.node.get_all_context(), environment)
    given.check()
    package = Path(given.text(o.PACKAGE) or "")
    if not package.exists():
        raise o.OptionsError(f"there is no package at {package}; `coachstream package` builds one")
    check_target(package)
    options = FunctionOptions(
        code=lambda_.Code.from_asset(str(package)),
        memory_mb=_number(given, o.MEMORY_MB),
        timeout_s=_number(given, o.TIMEOUT_S),
        log_retention=RETENTION[_number(given, o.LOG_RETENTION_DAYS)],
        keep_log=given.boolean(o.KEEP_LOGS),
        snap_start=given.boolean(o.SNAP_START),
    )
    return CoachStreamStack(
        app,
        given.text(o.STACK_NAME) or "",
        options=options,
        stream_options=msgspec.structs.replace(
            options,
            reserved_concurrency=given.whole_number(o.RESERVED_CONCURRENCY),
        ),
        cors=Cors(origins=given.origins(o.CORS_ORIGINS), allow_any_origin=given.boolean(o.ALLOW_ANY_ORIGIN)),
        service=_service(given),
        existing=Existing(
            table_name=given.text(o.TABLE_NAME),
            user_pool_id=given.text(o.USER_POOL_ID),
            client_ids=given.texts(o.CLIENT_IDS),
            packaged_keys=packaged_keys(package, given.text(o.USER_POOL_ID)),
            pinecone_secret_arn=given.text(o.PINECONE_SECRET_ARN),
            ticket_key_secret_arn=given.text(o.TICKET_KEY_SECRET_ARN),
            kms_key_arns=given.texts(o.KMS_KEY_ARNS),
        ),
        alarms=_alarms(given),
        dashboard=given.boolean(o.DASHBOARD),
        env=Environment(
            account=environment.get("CDK_DEFAULT_ACCOUNT"), region=environment.get("CDK_DEFAULT_REGION")
        ),
    )


def _service(given: DeployOptions) -> Service:
    guardrail, host = given.text(o.GUARDRAIL_ID), given.text(o.PINECONE_INDEX_HOST)
    fallback = given.text(o.FALLBACK_MODEL_ID), given.text(o.FALLBACK_REGION)
    return Service(
        model=BedrockSettings(
            given.text(o.MODEL_ID) or DEFAULT_MODEL_ID,
            region=given.text(o.MODEL_REGION),
            guardrail=None
            if guardrail is None
            else Guardrail(guardrail, given.text(o.GUARDRAIL_VERSION) or ""),
            fallback=Fallback(*fallback) if any(fallback) else None,
            analysis_model_id=given.text(o.ANALYSIS_MODEL_ID),
        ),
        foundation_models=given.texts(o.FOUNDATION_MODELS),
        guardrail_profiles=given.texts(o.GUARDRAIL_PROFILES),
        recall=None if host is None else PineconeIndex(host=host, rerank_model=given.text(o.RERANK_MODEL)),
        hand_offs=HandOffs(
            workout_function=given.text(o.WORKOUT_FUNCTION), summary_function=given.text(o.SUMMARY_FUNCTION)
        ),
        mirror_messages=given.boolean(o.MIRROR_MESSAGES),
        logs=Logs(
            level=LogLevel(given.text(o.LOG_LEVEL) or ""), metrics_namespace=given.text(o.METRICS_NAMESPACE)
        ),
    )


def _alarms(given: DeployOptions) -> AlarmOptions | None:
    return AlarmOptions(topic_arn=given.text(o.ALARM_TOPIC_ARN)) if given.boolean(o.ALARMS) else None


def _number(given: DeployOptions, option: o.Option) -> int:
    """Return the number of an option that has a default."""
    number = given.whole_number(option)
    assert number is not None  # noqa: S101 (narrows the type)
    return number


def main() -> None:
    """Write the assembly for `cdk`; invalid options are reported with one line each, without a traceback."""
    app = App()
    try:
        stack_of(app, os.environ)
    except REFUSALS as error:
        for line in str(error).splitlines():
            print(f"coachstream: {line}", file=sys.stderr)  # noqa: T201 (cdk shows it)
        raise SystemExit(_WRONG_USAGE) from None
    app.synth()


if __name__ == "__main__":
    main()
