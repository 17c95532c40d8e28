"""Prints the templates of all variants of the stack, as one JSON object.

A separate program, so that a single process starts CDK's kernel (Node.js) for all test processes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from aws_cdk import App, Environment
from aws_cdk import aws_lambda as lambda_

from coachstream.deployment.stack import CoachStreamStack, Existing
from coachstream.infrastructure.alarms import AlarmOptions
from coachstream.infrastructure.cors import Cors
from coachstream.infrastructure.function import FunctionOptions
from coachstream.infrastructure.service import PineconeIndex, Service
from coachstream.settings import BedrockSettings, Fallback, Guardrail, HandOffs, LogLevel, Logs

SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret"
GUARDRAIL_PROFILES = tuple(
    f"arn:aws:bedrock:{region}:123456789012:guardrail-profile/us.guardrail.v1:0"
    for region in ("us-east-1", "us-east-2", "us-west-2")
)
HERE = Environment(account="123456789012", region="us-west-2")


def define(app: App, package: Path) -> None:
    """Define every variant as a stack."""

    def options(**more: Any) -> FunctionOptions:  # noqa: ANN401 (of `FunctionOptions`)
        # Each stack has its own assets.
        return FunctionOptions(code=lambda_.Code.from_asset(str(package)), **more)

    cors = Cors(origins=("https://app.example.com", "http://localhost:5173"))
    index = PineconeIndex(host="coach-abc123.svc.pinecone.io")
    # Everything new, with recall as the only option; account and region are unknown.
    CoachStreamStack(app, "New", options=options(), cors=cors, service=Service(recall=index))
    # Next to the existing backend, with everything that can be set.
    usual = options(memory_mb=3008, timeout_s=900, keep_log=True)
    CoachStreamStack(
        app,
        "Imported",
        options=usual,
        stream_options=msgspec.structs.replace(usual, reserved_concurrency=50),
        cors=Cors(origins=("https://app.example.com",), max_age_s=600),
        service=Service(
            model=BedrockSettings(
                "us.anthropic.claude-sonnet-4-6",
                guardrail=Guardrail("gr1abc", "3"),
                fallback=Fallback("anthropic.claude-3-5-haiku-20241022-v1:0"),
            ),
            recall=PineconeIndex(
                host="coach-abc123.svc.pinecone.io", rerank_model="pinecone-rerank-v0", timeout_s=0.9
            ),
            hand_offs=HandOffs(
                workout_function="build-workout",
                summary_function="arn:aws:lambda:us-west-2:123456789012:function:build-conversation-summary",
            ),
            mirror_messages=True,
            logs=Logs(level=LogLevel.DEBUG, metrics_namespace="coach/prod"),
            variables={"COACHSTREAM_KEEP_ALIVE_S": "10"},
        ),
        existing=Existing(
            table_name="Proto-AllItems-V2",
            user_pool_id="us-west-2_Existing1",
            client_ids=("web1client", "ios2client"),
            pinecone_secret_arn=f"{SECRET}:pinecone-a1B2c3",
            ticket_key_secret_arn=f"{SECRET}:tickets-d4E5f6",
        ),
        alarms=AlarmOptions(topic_arn="arn:aws:sns:us-west-2:123456789012:night-watch"),
        env=HERE,
    )
    # Existing table and Pinecone key, new users and ticket key; the same model elsewhere as fallback.
    CoachStreamStack(
        app,
        "Mixed",
        options=options(),
        cors=cors,
        service=Service(
            model=BedrockSettings("amazon.nova-pro-v1:0", fallback=Fallback(region="us-east-1")),
            recall=index,
        ),
        existing=Existing(table_name="Proto-AllItems-V2", pinecone_secret_arn=f"{SECRET}:pinecone-a1B2c3"),
        env=HERE,
    )
    CoachStreamStack(app, "SnapStart", options=options(snap_start=True), cors=cors, env=HERE)
    CoachStreamStack(app, "Quiet", options=options(), cors=cors, alarms=None, dashboard=False, env=HERE)
    # An existing backend with its own KMS keys, and a guardrail that is applied across regions.
    CoachStreamStack(
        app,
        "Encrypted",
        options=options(),
        cors=cors,
        service=Service(
            model=BedrockSettings("amazon.nova-pro-v1:0", guardrail=Guardrail("gr1abc", "3")),
            guardrail_profiles=GUARDRAIL_PROFILES,
            recall=index,
        ),
        existing=Existing(
            table_name="Proto-AllItems-V2",
            pinecone_secret_arn=f"{SECRET}:pinecone-a1B2c3",
            kms_key_arns=("arn:aws:kms:us-west-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",),
        ),
        env=HERE,
    )
    # Without metrics of our own, there is nothing to monitor; and without titles and summaries.
    CoachStreamStack(
        app,
        "Unmeasured",
        options=options(),
        cors=Cors(origins=("*",), allow_any_origin=True),
        service=Service(logs=Logs(metrics_namespace=None)),
        post_turn=False,
        env=HERE,
    )


if __name__ == "__main__":
    with TemporaryDirectory() as outdir, TemporaryDirectory() as package:
        # A template does not depend on the package's contents.
        Path(package, "handler.py").write_text("")
        app = App(outdir=outdir)
        define(app, Path(package))
        stacks = {stack.stack_name: stack.template for stack in app.synth().stacks}
    json.dump(stacks, sys.stdout)
