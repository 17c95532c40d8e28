"""The settings of `coachstream serve`: options override variables, which override local defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from coachstream.extras import missing_packages
from coachstream.local.options import ON_THIS_MACHINE, BackendChoice, CannotServe, ServeOptions
from coachstream.settings import Model, Settings, SettingsError, Store
from coachstream.settings import variables as v
from coachstream.settings.reader import environment_of as variables_in


def environment_of(
    choice: BackendChoice, environment: Mapping[str, str], *, data_dir: Path
) -> dict[str, str]:
    """Return the variables: the options, or else the environment, or else defaults on this machine.

    Raises:
        CannotServe: an option belongs to a backend that is not selected.
    """
    merged = {
        **{variable.name: value for variable, value in ON_THIS_MACHINE.items()},
        **{name: value for name, value in environment.items() if value.strip()},
        v.DATA_DIR.name: str(data_dir.absolute()),
        **variables_in(choice),
    }
    if choice.table is not None and merged[v.STORE.name].lower() != Store.DYNAMODB:
        raise CannotServe("--table is for --store dynamodb.")
    if choice.model_id is not None and merged[v.MODEL.name].lower() != Model.BEDROCK:
        raise CannotServe("--model-id is for --model bedrock.")
    return merged


def settings_for(options: ServeOptions, environment: Mapping[str, str]) -> Settings:
    """Return the settings of the server.

    Raises:
        CannotServe: they are invalid, or a backend needs a package that is not installed.
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
    """Return the settings with the region that the SDK finds in the shared configuration.

    The emulator sets the functions' region, as Lambda does, so they would not read the configuration.

    Raises:
        CannotServe: a region is needed, and none is set.
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
        raise CannotServe("No AWS region is set. Set one with --region or AWS_REGION.")
    return msgspec.structs.replace(settings, region=region)
