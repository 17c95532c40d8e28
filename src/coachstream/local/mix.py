"""The settings of `coachstream serve`: its options, else the environment, else everything on this machine."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coachstream.extras import missing_packages
from coachstream.local.options import CannotServe, Mix, ServeOptions
from coachstream.settings import IdentityProvider, LogFormat, Model, Recall, Settings, SettingsError, Store
from coachstream.settings import variables as v


def settings_for(options: ServeOptions, environment: Mapping[str, str]) -> Settings:
    """Put the settings together.

    Raises:
        CannotServe: they do not fit together, or what a part needs is not installed.
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
    mix = options.mix
    asked: dict[v.Variable, str | None] = {
        v.DATA_DIR: str(options.data_dir.absolute()),
        v.MODEL_DELAY: repr(options.model_delay_s),
        v.STORE: mix.store,
        v.TABLE: mix.table,
        v.MODEL: mix.model,
        v.MODEL_ID: mix.model_id,
        v.RECALL: mix.recall,
        v.IDENTITY: mix.identity,
        v.REGION: mix.region,
    }
    try:
        settings = Settings.from_environment(
            {
                **{variable.name: value for variable, value in on_this_machine.items()},
                **{name: value for name, value in environment.items() if value.strip()},
                **{variable.name: value for variable, value in asked.items() if value is not None},
            }
        )
    except SettingsError as error:
        raise CannotServe("\n".join(f"{problem}." for problem in error.problems)) from error
    _refuse_what_changes_nothing(mix, settings)
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


def _refuse_what_changes_nothing(mix: Mix, settings: Settings) -> None:
    """An option of a part that is not used is a misunderstanding.

    Raises:
        CannotServe: there is one.
    """
    if mix.table is not None and settings.store.kind is not Store.DYNAMODB:
        raise CannotServe("--table is for --store dynamodb.")
    if mix.model_id is not None and settings.model.kind is not Model.BEDROCK:
        raise CannotServe("--model-id is for --model bedrock.")
