"""The program that `cdk` runs: `cdk deploy --app "python -m coachstream.deployment.app"`.

`options` lists its options; account and region are those of `cdk`'s credentials.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import msgspec
from aws_cdk import App, Environment
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs

from coachstream.deployment.stack import CoachStreamStack, Existing
from coachstream.infrastructure import options as o
from coachstream.infrastructure.alarms import AlarmOptions
from coachstream.infrastructure.cors import Cors
from coachstream.infrastructure.deploy_options import DeployOptions
from coachstream.infrastructure.function import FunctionOptions
from coachstream.infrastructure.package_contents import check_target, packaged_keys
from coachstream.infrastructure.service import PineconeIndex, Service
from coachstream.settings import (
    BedrockSettings,
    Fallback,
    Guardrail,
    HandOffs,
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
    package = given.value(o.PACKAGE)
    if not package.exists():
        raise o.OptionsError(f"there is no package at {package}; `coachstream package` builds one")
    check_target(package)
    options = FunctionOptions(
        code=lambda_.Code.from_asset(str(package)),
        memory_mb=given.value(o.MEMORY_MB),
        timeout_s=given.value(o.TIMEOUT_S),
        log_retention=RETENTION[given.value(o.LOG_RETENTION_DAYS)],
        keep_log=given.value(o.KEEP_LOGS),
        snap_start=given.value(o.SNAP_START),
    )
    return CoachStreamStack(
        app,
        given.value(o.STACK_NAME),
        options=options,
        stream_options=msgspec.structs.replace(
            options,
            reserved_concurrency=given.value(o.RESERVED_CONCURRENCY),
        ),
        cors=Cors(origins=given.value(o.CORS_ORIGINS), allow_any_origin=given.value(o.ALLOW_ANY_ORIGIN)),
        service=_service(given),
        existing=Existing(
            table_name=given.value(o.TABLE_NAME),
            user_pool_id=given.value(o.USER_POOL_ID),
            client_ids=given.value(o.CLIENT_IDS),
            packaged_keys=packaged_keys(package, given.value(o.USER_POOL_ID)),
            pinecone_secret_arn=given.value(o.PINECONE_SECRET_ARN),
            ticket_key_secret_arn=given.value(o.TICKET_KEY_SECRET_ARN),
            kms_key_arns=given.value(o.KMS_KEY_ARNS),
        ),
        post_turn=given.value(o.POST_TURN),
        alarms=_alarms(given),
        dashboard=given.value(o.DASHBOARD),
        env=Environment(
            account=environment.get("CDK_DEFAULT_ACCOUNT"), region=environment.get("CDK_DEFAULT_REGION")
        ),
    )


def _service(given: DeployOptions) -> Service:
    guardrail, host = given.value(o.GUARDRAIL_ID), given.value(o.PINECONE_INDEX_HOST)
    fallback = given.value(o.FALLBACK_MODEL_ID), given.value(o.FALLBACK_REGION)
    return Service(
        model=BedrockSettings(
            given.value(o.MODEL_ID),
            region=given.value(o.MODEL_REGION),
            guardrail=None
            if guardrail is None
            else Guardrail(guardrail, given.value(o.GUARDRAIL_VERSION), given.value(o.GUARDRAIL_MODE)),
            fallback=Fallback(*fallback) if any(fallback) else None,
            analysis_model_id=given.value(o.ANALYSIS_MODEL_ID),
            summary_model_id=given.value(o.SUMMARY_MODEL_ID),
        ),
        foundation_models=given.value(o.FOUNDATION_MODELS),
        guardrail_profiles=given.value(o.GUARDRAIL_PROFILES),
        recall=None if host is None else PineconeIndex(host=host, rerank_model=given.value(o.RERANK_MODEL)),
        hand_offs=HandOffs(given.value(o.WORKOUT_FUNCTION), given.value(o.SUMMARY_FUNCTION)),
        mirror_messages=given.value(o.MIRROR_MESSAGES),
        logs=Logs(level=given.value(o.LOG_LEVEL), metrics_namespace=given.value(o.METRICS_NAMESPACE)),
    )


def _alarms(given: DeployOptions) -> AlarmOptions | None:
    return AlarmOptions(topic_arn=given.value(o.ALARM_TOPIC_ARN)) if given.value(o.ALARMS) else None


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
