"""Runs all checks of an environment concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing

import msgspec

from coachstream.check.aws import credentials_source
from coachstream.check.hand_offs import hand_off_checks
from coachstream.check.identity import identity_check
from coachstream.check.model import analysis_check, fallback_check, model_check, summary_checks
from coachstream.check.recall import recall_check
from coachstream.check.report import Advice, Check, Finding, NotKnown, Report, Trouble, Verdict
from coachstream.check.store import store_check
from coachstream.check.tickets import tickets_check
from coachstream.conversation.errors import describe_exception
from coachstream.services import Services
from coachstream.settings import Logs, Settings, SettingsError, unknown_variables

_CREDENTIALS = "AWS credentials"


async def check(
    environment: Mapping[str, str], *, offline: bool, call_model: bool, within_s: float
) -> Report:
    """Validate the settings, and check the backends that they select.

    Args:
        environment: the variables.
        offline: make no connections.
        call_model: generate one token, which is billed.
        within_s: the timeout of each check; they run concurrently.
    """
    problems = unknown_variables(environment)
    try:
        settings = Settings.from_environment(environment)
    except SettingsError as error:
        problems += error.problems
    if problems:
        return Report(ok=False, problems=tuple(f"{problem}." for problem in problems))
    async with aclosing(Services(settings)) as services:
        checks = await _checks(services, call_model=call_model, within_s=within_s)
        findings = await asyncio.gather(
            *(_finding(each, offline=offline, within_s=within_s) for each in checks)
        )
    return Report(all(finding.verdict is not Verdict.FAILED for finding in findings), (), tuple(findings))


async def preflight(settings: Settings, *, within_s: float = 3.0) -> tuple[Finding, ...]:
    """Find what will not work with these settings, checking this machine only; each finding has a remedy.

    The only request asks the machine for its role, if AWS is used and there are no other credentials. Checks
    that time out are not reported.
    """
    async with aclosing(Services(settings)) as services:
        checks = await _checks(services, call_model=False, within_s=within_s)
        findings = await asyncio.gather(
            *(
                _finding(
                    msgspec.structs.replace(each, look=each.connect) if each.part == _CREDENTIALS else each,
                    offline=True,
                    within_s=within_s,
                )
                for each in checks
            )
        )
    return tuple(finding for finding in findings if finding.remedy is not None)


async def _checks(services: Services, *, call_model: bool, within_s: float) -> list[Check]:
    checks = [
        await store_check(services),
        await model_check(services, call=call_model),
        await fallback_check(services, call=call_model),
        await analysis_check(services, call=call_model),
        *await summary_checks(services, call=call_model),
        identity_check(services),
        tickets_check(services),
        recall_check(services, within_s=within_s),
        *await hand_off_checks(services),
        _turns(services.settings),
        _logs(services.settings.logs),
    ]
    if services.settings.aws_services:
        needed_by = ", ".join(services.settings.aws_services)
        checks.append(
            Check(
                part=_CREDENTIALS,
                choice="",
                facts={"needed by": needed_by},
                connect=lambda: _find_credentials(needed_by),
                look=_find_configured_credentials,
            )
        )
    return checks


async def _find_credentials(needed_by: str) -> str:
    source = await credentials_source()
    if source is None:
        raise Trouble(
            f"There are no AWS credentials, which are needed for {needed_by}.",
            "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role.",
        )
    return f"They come from {source}."


async def _find_configured_credentials() -> str:
    source = await credentials_source(asks_for_role=False)
    if source is None:
        raise NotKnown("None are configured; only a request can find out whether this machine has a role.")
    return f"They come from {source}."


def _turns(settings: Settings) -> Check:
    async def nothing() -> str:
        return "There is nothing to connect to."

    facts = {"a second message": settings.turn_policy.value, "lease": f"{settings.lease_s:g} s"}
    return Check(part="turns", choice="", facts=facts, connect=nothing)


def _logs(logs: Logs) -> Check:
    async def nothing() -> str:
        return "Written to standard output; there is nothing to connect to."

    facts = {"level": logs.level.value, "metrics": logs.metrics_namespace or "off"}
    return Check(part="logs", choice="", facts=facts, connect=nothing)


async def _finding(check: Check, *, offline: bool, within_s: float) -> Finding:
    attempt = check.look if offline else check.connect
    verdict, message, remedy = Verdict.SKIPPED, "Not tried.", None
    if check.connect is None:
        verdict, message, remedy = Verdict.OFF, check.off, check.remedy
    elif attempt is not None:
        try:
            async with asyncio.timeout(within_s):
                found = await attempt()
            if isinstance(found, Advice):
                verdict, message, remedy = Verdict.WARNING, found.message, found.remedy
            else:
                verdict, message = Verdict.OK, found
        except Trouble as trouble:
            verdict, message, remedy = Verdict.FAILED, str(trouble), trouble.remedy
        except NotKnown as not_known:
            message = str(not_known)
        except TimeoutError:
            message = f"There was no response within {within_s:g} s."
            if not offline:
                verdict = Verdict.FAILED
                remedy = "Check the endpoint and the network. --timeout gives more time."
        except Exception as error:  # noqa: BLE001 (the other checks are still reported)
            verdict, message = Verdict.FAILED, f"The check itself failed: {describe_exception(error)}."
            remedy = "Please report this."
    return Finding(
        part=check.part,
        choice=check.choice,
        facts=check.facts,
        verdict=verdict,
        message=message,
        remedy=remedy,
    )
