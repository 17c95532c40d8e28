"""Hand-offs: can the functions be invoked?"""

from __future__ import annotations

from coachstream.check.aws import aws_facts, aws_trouble, code_of, unexpected
from coachstream.check.report import Check, Trouble
from coachstream.extras import missing_aws
from coachstream.services import Services
from coachstream.settings import SqliteStoreSettings

_ACTION = "lambda:InvokeFunction"


async def hand_off_checks(services: Services) -> list[Check]:
    """Return one check per function."""
    hand_offs = services.settings.hand_offs
    is_here = isinstance(services.settings.store, SqliteStoreSettings)
    here = "this process writes them itself" if is_here else None
    ours = "the function for titles writes them" if hand_offs.post_turn_function else here
    return [
        await _check(services, "workouts", "BUILD_WORKOUT_FUNCTION_NAME", hand_offs.workout_function),
        await _check(
            services,
            "summaries",
            "BUILD_CONVERSATION_SUMMARY_FUNCTION_NAME",
            hand_offs.summary_function,
            instead=ours,
        ),
        await _check(
            services,
            "titles",
            "COACHSTREAM_POST_TURN_FUNCTION_NAME",
            hand_offs.post_turn_function,
            instead=here,
        ),
    ]


async def _check(
    services: Services, what: str, variable: str, function: str | None, *, instead: str | None = None
) -> Check:
    if function is None:
        otherwise = "" if instead is None else f"; {instead}"
        return Check(part=what, choice="off", facts={}, off=f"{variable} is not set{otherwise}.")
    where = await aws_facts("lambda", services.settings.region)
    return Check(
        part=what,
        choice="lambda",
        facts={"function": function, **where},
        connect=lambda: _dry_run(services, function, where, variable),
    )


async def _dry_run(services: Services, function: str, where: dict[str, str], variable: str) -> str:
    if (missing := missing_aws("A hand-off")) is not None:
        raise Trouble(missing.problem, missing.remedy)
    from botocore.exceptions import ClientError

    try:
        with aws_trouble(_ACTION, where.get("endpoint", "Lambda")):
            client = await services.functions()
            await client.invoke(FunctionName=function, InvocationType="DryRun")
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            raise Trouble(
                f"There is no function {function} in {where.get('region', 'this region')}.",
                f"Check {variable} and the region.",
            ) from None
        raise unexpected(error, _ACTION) from None
    return "It can be invoked (a dry run; the function did not run)."
