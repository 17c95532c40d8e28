"""The settings of `coachstream serve`: its options, else the environment, else everything on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from coachstream.extras import missing_packages
from coachstream.local.options import BackendChoice, CannotServe, ServeOptions
from coachstream.settings import IdentityProvider, LogFormat, Model, Recall, Settings, SettingsError, Store
from coachstream.settings import variables as v


def environment_of(
    choice: BackendChoice, environment: Mapping[str, str], *, data_dir: Path
) -> dict[str, str]:
    """The variables: what is chosen, else what the environment says, else everything on this machine.

    Raises:
        CannotServe: an option is of a part that is not used, which is a misunderstanding.
    """
    on_this_machine: dict[v.Variable, str] = {
        v.STORE: Store.SQLITE,
        v.MODEL: Model.DEMO,
        v.IDENTITY: IdentityProvider.LOCAL,
        v.RECALL: Recall.SQLITE,
        v.LOG_FORMAT: LogFormat.TEXT,
        v.METRICS_NAMESPACE: "off",
        # All clocks are one, and who waits for a dead process is the one who killed it.
        v.LEASE: "5",
    }
    chosen: dict[v.Variable, str | None] = {
        v.DATA_DIR: str(data_dir.absolute()),
        v.STORE: choice.store,
        v.TABLE: choice.table,
        v.MODEL: choice.model,
        v.MODEL_ID: choice.model_id,
        v.RECALL: choice.recall,
        v.IDENTITY: choice.identity,
        v.REGION: choice.region,
    }
    merged = {
        **{variable.name: value for variable, value in on_this_machine.items()},
        **{name: value for name, value in environment.items() if value.strip()},
        **{variable.name: value for variable, value in chosen.items() if value is not None},
    }
    if choice.table is not None and merged[v.STORE.name].lower() != Store.DYNAMODB:
        raise CannotServe("--table is for --store dynamodb.")
    if choice.model_id is not None and merged[v.MODEL.name].lower() != Model.BEDROCK:
        raise CannotServe("--model-id is for --model bedrock.")
    return merged


def settings_for(options: ServeOptions, environment: Mapping[str, str]) -> Settings:
    """Put the settings together.

    Raises:
        CannotServe: they do not fit together, or what a part needs is not installed.
    """
    merged = environment_of(options.backends, environment, data_dir=options.data_dir)
    try:
        settings = Settings.from_environment({**merged, v.MODEL_DELAY.name: repr(options.model_delay_s)})
    except SettingsError as error:
        raise CannotServe("\n".join(f"{problem}." for problem in error.problems)) from error
    if missing := missing_packages(settings):
        raise CannotServe("\n".join(map(str, missing)))
    return settings


async def in_a_region(settings: Settings) -> Settings:
    """The settings with the region that the SDK finds in the shared configuration.

    The emulator tells the functions a region, as Lambda does, so they would not look there.

    Raises:
        CannotServe: a region is needed, and none is set anywhere.
    """
    if settings.region is not None or not settings.needs_region:
        return settings
    from botocore.exceptions import BotoCoreError

    from coachstream.aws.clients import AwsSession

    try:
        session = await AwsSession().load()
        region = session.get_config_variable("region")
    except BotoCoreError as error:
        raise CannotServe(f"The AWS configuration cannot be used: {error}") from error
    if not isinstance(region, str):
        raise CannotServe("No AWS region is set. Name one with --region or AWS_REGION.")
    return msgspec.structs.replace(settings, region=region)
