"""The options of one deployment, read and validated; needs no CDK, so errors are reported at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from coachstream.infrastructure.options import (
    ALARM_TOPIC_ARN,
    ALARMS,
    ALLOW_ANY_ORIGIN,
    ANY_ORIGIN,
    CORS_ORIGINS,
    FALLBACK_REGION,
    GUARDRAIL_ID,
    METRICS_NAMESPACE,
    OPTIONS,
    PINECONE_INDEX_HOST,
    PREFIX,
    Option,
    OptionsError,
)
from coachstream.settings import IdentityProvider, Model, Recall, Settings, SettingsError, Store
from coachstream.settings import variables as v
from coachstream.settings.kinds import InvalidValue

T = TypeVar("T")

MAX_ORIGINS = 100
"""Lambda API reference, `Cors`."""

_OURS_LOOK_LIKE = re.compile(r"[a-z]+([A-Z][A-Za-z]*)*")
"""The names in CDK's own context contain dashes, colons and slashes."""


class DeployOptions:
    """The options of one deployment."""

    def __init__(
        self,
        context: Mapping[str, object],
        environment: Mapping[str, str],
        *,
        name_of: Callable[[Option[object]], str] = lambda option: option.name,
    ) -> None:
        """Read options from CDK's context and the environment.

        Args:
            context: CDK's context.
            environment: the variables, including those of AWS.
            name_of: the name of an option in messages.
        """
        self._context = context
        self._environment = environment
        self._name_of = name_of

    def check(self) -> None:
        """Validate every option, and combinations of options.

        Raises:
            OptionsError: options are invalid; the message has a line for each problem.
        """
        problems = [*self._unknown_names(), *self._problems(), *self._problems_of_service()]
        if problems:
            raise OptionsError("\n".join(problems))

    def text(self, option: Option[object]) -> str | None:
        """The option's text; None if it is unset or blank."""
        value = self._context.get(option.name, self._environment.get(option.variable, ""))
        # `cdk.json` may have a list.
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        return text.strip() or None

    def value(self, option: Option[T]) -> T:
        """The option's value, or its default.

        Raises:
            InvalidValue: it is invalid, which `check` reports.
        """
        text = self.text(option)
        return option.default if text is None else option.kind.parse(text)

    def _unknown_names(self) -> list[str]:
        names = {option.name for option in OPTIONS}
        variables = {option.variable for option in OPTIONS}
        unknown = [name for name in self._context if _OURS_LOOK_LIKE.fullmatch(name) and name not in names]
        unknown += [name for name in self._environment if name.startswith(PREFIX) and name not in variables]
        return [f"there is no option {name}" for name in sorted(unknown)]

    def _problems(self) -> list[str]:
        problems, invalid = [], set()
        for option in OPTIONS:
            name, text = self._name_of(option), self.text(option)
            if text is None and option.name in self._context and option.name != CORS_ORIGINS.name:
                problems.append(f"{name} is empty; leave it out for its default")
            try:
                self.value(option)
            except InvalidValue as error:
                invalid.add(option.name)
                if option.setting is None:
                    problems.append(f"{name} {error}")
            if option.without is not None and text not in {None, option.default_text}:
                needed = next(each for each in OPTIONS if each.name == option.without)
                if self.text(needed) is None:
                    problems.append(f"{name} has no effect without {self._name_of(needed)}")
        if invalid.isdisjoint({CORS_ORIGINS.name, ALLOW_ANY_ORIGIN.name}):
            problems += self._problems_of_origins()
        if ALARMS.name not in invalid:
            problems += self._problems_of_alarms()
        return problems

    def _problems_of_origins(self) -> Iterator[str]:
        name, origins = self._name_of(CORS_ORIGINS), self.value(CORS_ORIGINS)
        if not 0 < len(origins) <= MAX_ORIGINS:
            pages = f"the allowed origins, 1 to {MAX_ORIGINS}"
            yield f"{name} must name {pages}, such as https://app.example.com"
        elif ANY_ORIGIN in origins and not self.value(ALLOW_ANY_ORIGIN):
            allow = self._name_of(ALLOW_ANY_ORIGIN)
            yield f"{name} has *, which allows every page; name origins, or set {allow}"

    def _problems_of_alarms(self) -> Iterator[str]:
        has_alarms = self.value(ALARMS) and self.value(METRICS_NAMESPACE) is not None
        if self.text(ALARM_TOPIC_ARN) is not None and not has_alarms:
            of_metrics = f"{self._name_of(ALARMS)}, and with {self._name_of(METRICS_NAMESPACE)} off"
            yield f"{self._name_of(ALARM_TOPIC_ARN)} has no effect without {of_metrics}"

    def _problems_of_service(self) -> list[str]:
        """The settings with which the functions would not start, by the options' names."""
        region = self._environment.get("CDK_DEFAULT_REGION") or self._environment.get(v.REGION.name)
        environment = {
            v.STORE.name: Store.DYNAMODB,
            v.MODEL.name: Model.BEDROCK,
            v.IDENTITY.name: IdentityProvider.COGNITO,
            v.RECALL.name: Recall.OFF if self.text(PINECONE_INDEX_HOST) is None else Recall.PINECONE,
            v.PINECONE_KEY.name: "to-be-made",
            v.TABLE.name: "to-be-made",
            v.USER_POOL.name: "us-west-2_ToBeMade",
            v.APP_CLIENTS.name: "ToBeMade",
            # If no region is known yet, it may be the fallback's.
            v.REGION.name: region or self.text(FALLBACK_REGION) or "us-west-2",
        }
        names = {}
        for option in OPTIONS:
            variable, text = option.setting, self.text(option)
            if variable is not None and text is not None:
                names[variable.name] = self._name_of(option)
                is_of_guardrail = option.setting in {v.GUARDRAIL_VERSION, v.GUARDRAIL_MODE}
                if not (is_of_guardrail and self.text(GUARDRAIL_ID) is None):
                    environment[variable.name] = text
        try:
            Settings.from_environment(environment)
        except SettingsError as error:
            pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
            return [pattern.sub(lambda found: names[found[0]], problem) for problem in error.problems]
        return []
