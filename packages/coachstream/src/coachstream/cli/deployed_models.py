"""The lifecycle of the models that a deployment will call, for a warning before it starts.

Nothing here stops a deployment. Without credentials, permission or a response from Bedrock, the lifecycle
table of this version is used.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coachstream.aws.clients import AwsSession
from coachstream.check.model_lifecycle import Standing, known_standing, standing_of, today
from coachstream.infrastructure import options as o
from coachstream.infrastructure.deploy_options import DeployOptions
from coachstream.settings import analysis_model


class DeployedModel(msgspec.Struct, frozen=True):
    """A model of the deployment, the option that names it, and its lifecycle status."""

    option: o.Option[object]
    model_id: str
    standing: Standing


async def deployed_models(environment: Mapping[str, str], *, is_online: bool) -> list[DeployedModel]:
    """Return the model, and its fallback and the models for analysis and summaries, if there are any.

    Args:
        environment: the deployment's environment, with its options and AWS's variables.
        is_online: whether to ask Bedrock.
    """
    found = []
    for option, model_id, region in _called(environment):
        standing = known_standing(model_id, on=today())
        if is_online:
            session = AwsSession(environment.get("AWS_PROFILE"))
            standing = await standing_of(model_id, region, session, on=today())
        found.append(DeployedModel(option, model_id, standing))
    return found


def _called(environment: Mapping[str, str]) -> list[tuple[o.Option[object], str, str | None]]:
    """The option, id and region of each model."""
    given = DeployOptions({}, environment)
    region = (
        given.value(o.MODEL_REGION) or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    )
    model_id = given.value(o.MODEL_ID)
    called: list[tuple[o.Option[object], str, str | None]] = [(o.MODEL_ID, model_id, region)]
    fallback, elsewhere = given.value(o.FALLBACK_MODEL_ID), given.value(o.FALLBACK_REGION)
    if fallback or elsewhere:
        option = o.FALLBACK_MODEL_ID if fallback else o.MODEL_ID
        called.append((option, fallback or model_id, elsewhere or region))
    analysis = analysis_model(given.value(o.ANALYSIS_MODEL_ID), model_id)
    if analysis is not None:
        called.append((o.ANALYSIS_MODEL_ID, analysis, region))
    summaries = given.value(o.SUMMARY_MODEL_ID)
    if summaries is not None and summaries != analysis:
        called.append((o.SUMMARY_MODEL_ID, summaries, region))
    return called
