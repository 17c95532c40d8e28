"""The options of one deployment, read and validated; needs no CDK, so errors are reported at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from coachstream.endpoint import normalized_origin
from coachstream.infrastructure.option_rules import ANY_ORIGIN
from coachstream.infrastructure.options import (
    ALLOW_ANY_ORIGIN,
    CORS_ORIGINS,
    FALLBACK_REGION,
    GUARDRAIL_ID,
    GUARDRAIL_VERSION,
    OPTIONS,
    PINECONE_INDEX_HOST,
    PREFIX,
    Option,
    OptionsError,
)
from coachstream.settings import IdentityProvider, Model, Recall, Settings, SettingsError, Store
from coachstream.settings import variables as v

MAX_ORIGINS = 100
"""Lambda API reference, `Cors`."""

_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}

_OURS_LOOK_LIKE = re.compile(r"[a-z]+([A-Z][A-Za-z]*)*")
"""The names in CDK's own context contain dashes, colons and slashes."""


class DeployOptions:
    """The options of one deployment."""

    def __init__(
        self,
        context: Mapping[str, object],
        environment: Mapping[str, str],
        *,
        name_of: Callable[[Option], str] = lambda option: option.name,
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

    def text(self, option: Option) -> str | None:
        """The option's text; an empty one counts as unset."""
        value = self._context.get(option.name)
        if value is None:
            value = self._environment.get(option.variable)
        return str(value).strip() or option.default if value is not None else option.default

    def texts(self, option: Option) -> tuple[str, ...]:
        """The option's comma-separated texts; `cdk.json` may have a list instead."""
        value = self._context.get(option.name)
        parts = value if isinstance(value, list) else (self.text(option) or "").split(",")
        return tuple(text for part in parts if (text := str(part).strip()))

    def origins(self, option: Option) -> tuple[str, ...]:
        """The option's origins, normalized and without duplicates."""
        texts = self.texts(option)
        return tuple(dict.fromkeys(each if each == ANY_ORIGIN else normalized_origin(each) for each in texts))

    def whole_number(self, option: Option) -> int | None:
        """The option's number."""
        text = self.text(option)
        return None if text is None else int(text)

    def boolean(self, option: Option) -> bool:
        """Whether the option is true."""
        return (self.text(option) or "false").lower() in _TRUE

    def _unknown_names(self) -> list[str]:
        names = {option.name for option in OPTIONS}
        variables = {option.variable for option in OPTIONS}
        unknown = [name for name in self._context if _OURS_LOOK_LIKE.fullmatch(name) and name not in names]
        unknown += [name for name in self._environment if name.startswith(PREFIX) and name not in variables]
        return [f"there is no option {name}" for name in sorted(unknown)]

    def _problems(self) -> list[str]:
        problems = []
        for option in OPTIONS:
            name, texts = (
                self._name_of(option),
                self.texts(option) if option.is_list else (self.text(option),),
            )
            if option.is_switch and (self.text(option) or "").lower() not in _TRUE | _FALSE:
                problems.append(f"{name} must be true or false, not {self.text(option)!r}")
            if option.rule is not None:
                found = (option.rule.problem_of(text) for text in texts if text is not None)
                problems += [f"{name} {problem}" for problem in found if problem is not None]
            if option.without is not None and self.text(option) not in {None, option.default}:
                needed = next(each for each in OPTIONS if each.name == option.without)
                if self.text(needed) is None:
                    problems.append(f"{name} has no effect without {self._name_of(needed)}")
        of_origins = self._problem_of_origins()
        return problems if of_origins is None else [*problems, of_origins]

    def _problem_of_origins(self) -> str | None:
        name, origins = self._name_of(CORS_ORIGINS), self.texts(CORS_ORIGINS)
        if not 0 < len(origins) <= MAX_ORIGINS:
            pages = f"the allowed origins, 1 to {MAX_ORIGINS}"
            return f"{name} must name {pages}, such as https://app.example.com"
        if ANY_ORIGIN in origins and not self.boolean(ALLOW_ANY_ORIGIN):
            allow = self._name_of(ALLOW_ANY_ORIGIN)
            return f"{name} has *, which allows every page; name origins, or set {allow}"
        return None

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
                if not (option is GUARDRAIL_VERSION and self.text(GUARDRAIL_ID) is None):
                    environment[variable.name] = text
        try:
            Settings.from_environment(environment)
        except SettingsError as error:
            pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
            return [pattern.sub(lambda found: names[found[0]], problem) for problem in error.problems]
        return []
