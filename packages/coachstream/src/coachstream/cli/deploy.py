"""`coachstream deploy`."""

from __future__ import annotations

import inspect
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from coachstream.cli.derived_options import with_parameters
from coachstream.cli.shared import fail, refuse_unknown_variables
from coachstream.infrastructure import options as o

_METAVARS = {"ARN": "ARN", "ID": "ID", "IDS": "IDS", "MB": "N", "S": "N", "DAYS": "N", "CONCURRENCY": "N"}
_ASSEMBLY = Path("dist") / "cdk.out"
_OUTPUTS = Path("dist") / "outputs.json"


def _parameter_name(option: o.Option[object]) -> str:
    return option.flag.removeprefix("--").replace("-", "_")


def _with_options_of_the_stack(command: Callable[..., None]) -> Callable[..., None]:
    """Add every option of `infrastructure.options` to a command."""
    return with_parameters(command, last=map(_parameter, o.OPTIONS))


def _parameter(option: o.Option[object]) -> inspect.Parameter:
    variable = option.variable.removeprefix(o.PREFIX)
    name = option.flag
    kind: type[str | bool] = str
    if option.is_switch:
        kind, name = bool, f"{name}/--no-{name.removeprefix('--')}"
    how = typer.Option(
        name,
        metavar=None if option.is_switch else _METAVARS.get(variable.rpartition("_")[2], "TEXT"),
        help=f"{option.meaning[0].upper()}{option.meaning[1:]}.",
        show_default=_default_shown(option),
    )
    annotation = Annotated[kind | None, how]  # type: ignore[valid-type]
    return inspect.Parameter(
        _parameter_name(option), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _default_shown(option: o.Option[object]) -> str | bool:
    if option.is_switch:
        return "on" if option.default else "off"
    return option.default_text or False


@_with_options_of_the_stack
def deploy(
    *,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Show what would change, without changing anything; without AWS credentials, all resources.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before granting permissions.")] = False,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="AWS profile; by default AWS_PROFILE.")
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(metavar="REGION", help="AWS region; by default AWS_REGION, or the profile's."),
    ] = None,
    **given: str | bool | None,
) -> None:
    """Deploy the functions to an AWS account, on their own or next to an existing backend.

    Builds the package, unless --package names one, and runs cdk deploy, which needs Node.js. The stack
    creates the table, user pool and secrets, or uses existing ones that you name, in any mix; it never
    changes existing ones. docs/tutorials/first-deployment.md has the steps.

    Every option of the stack has an environment variable, such as COACHSTREAM_DEPLOY_TABLE_NAME for
    --table-name. An option overrides its variable.
    """
    from importlib.util import find_spec

    from coachstream.deployment.toolkit import ToolkitError, check_toolkit

    refuse_unknown_variables()
    environment = _environment(given, profile=profile, region=region)
    _check_options(given, environment)
    if find_spec("aws_cdk") is None:
        fail("Deploying needs packages that are not installed: pip install 'coachstream[deploy]'")
    _warn_about_models(environment, is_online=not plan or _has_credentials(environment))
    try:
        check_toolkit(environment)
    except ToolkitError as problem:
        fail(str(problem))
    if not environment.get(o.PACKAGE.variable):
        from coachstream.cli.package import make

        # Packaged keys save each cold start a request. A pool that the stack creates has none yet.
        make(o.PACKAGE.default, jwks_of=environment.get(o.USER_POOL_ID.variable) or None)
    try:
        if plan:
            _plan(environment)
        else:
            _deploy(environment, asks=not yes)
    except ToolkitError as problem:
        typer.secho(str(problem), err=True, fg=typer.colors.RED)
        raise typer.Exit(problem.status) from None


def _check_options(given: Mapping[str, str | bool | None], environment: Mapping[str, str]) -> None:
    """Report all errors in the options together, each under the option or variable that was given."""
    from coachstream.infrastructure.deploy_options import DeployOptions

    def name_of(option: o.Option[object]) -> str:
        is_a_variable = given[_parameter_name(option)] is None and option.variable in environment
        return option.variable if is_a_variable else option.flag

    problems = []
    try:
        DeployOptions(_given_by_name(given), environment, name_of=name_of).check()
    except o.OptionsError as error:
        problems += str(error).splitlines()
    package = environment.get(o.PACKAGE.variable)
    if package and not Path(package).exists():
        problems.append(f"{name_of(o.PACKAGE)}: {package} does not exist; `coachstream package` builds one")
    if problems:
        fail("\n".join(f"{problem}." for problem in problems))


def _given_by_name(given: Mapping[str, str | bool | None]) -> dict[str, str | bool]:
    values = {option.name: given[_parameter_name(option)] for option in o.OPTIONS}
    return {name: value for name, value in values.items() if value is not None}


def _warn_about_models(environment: Mapping[str, str], *, is_online: bool) -> None:
    """Warn about models that need action soon; a warning does not stop the deployment."""
    import asyncio

    from coachstream.cli.deployed_models import deployed_models

    for model in asyncio.run(deployed_models(environment, is_online=is_online)):
        if model.standing.remedy:
            standing = f"{model.standing.sentence} {model.standing.remedy}"
            warning = f"{model.option.flag} is {model.model_id}. {standing}"
            typer.secho(warning, err=True, fg=typer.colors.YELLOW)


def _environment(
    given: dict[str, str | bool | None], *, profile: str | None, region: str | None
) -> dict[str, str]:
    """The environment of the toolkit and the app, which is their only configuration."""
    environment = dict(os.environ)
    for option in o.OPTIONS:
        value = given[_parameter_name(option)]
        if value is not None:
            environment[option.variable] = str(value).lower() if isinstance(value, bool) else value
    if profile is not None:
        environment["AWS_PROFILE"] = profile
    if region is not None:
        environment["AWS_REGION"] = environment["AWS_DEFAULT_REGION"] = region
    return environment


def _plan(environment: dict[str, str]) -> None:
    """Show the changes; without credentials to compare with the deployed stack, all resources."""
    from coachstream.deployment.toolkit import Action, run

    if _has_credentials(environment):
        run(Action.DIFF, environment, output=_ASSEMBLY)
        return
    run(Action.SYNTH, environment, "--quiet", output=_ASSEMBLY)
    stack = environment.get(o.STACK_NAME.variable) or o.STACK_NAME.default
    template = _ASSEMBLY / f"{stack}.template.json"
    resources = json.loads(template.read_bytes())["Resources"].values()
    kinds = Counter(resource["Type"] for resource in resources if resource["Type"] != "AWS::CDK::Metadata")
    typer.echo(f"No AWS credentials to compare with the deployed stack. The stack {stack} would have:")
    for kind, number in sorted(kinds.items()):
        typer.echo(f"{number:4d}  {kind}")
    typer.echo(f"The full template is {template}.")


def _has_credentials(environment: Mapping[str, str]) -> bool:
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        return Session(profile=environment.get("AWS_PROFILE")).get_credentials() is not None
    except BotoCoreError:
        return True  # something is configured, and the toolkit reports what is wrong with it


def _deploy(environment: dict[str, str], *, asks: bool) -> None:
    from coachstream.deployment.toolkit import Action, run

    approval = "broadening" if asks else "never"
    _OUTPUTS.parent.mkdir(parents=True, exist_ok=True)
    run(
        Action.DEPLOY,
        environment,
        "--require-approval",
        approval,
        "--outputs-file",
        str(_OUTPUTS),
        output=_ASSEMBLY,
    )
    stack = environment.get(o.STACK_NAME.variable) or o.STACK_NAME.default
    outputs: dict[str, str] = json.loads(_OUTPUTS.read_bytes()).get(stack, {})
    for name in sorted(outputs):
        if name.endswith("FunctionUrl"):
            typer.echo(f"{name}: {outputs[name]}")
    typer.echo(f"All outputs are in {_OUTPUTS}. The next steps are in docs/tutorials/first-deployment.md.")
