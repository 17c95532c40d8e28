"""Every environment variable of the service, typed, in one place.

What a deployment must decide has no default: without an explicit store, model and identity nothing starts, so
that the demo model, the local issuer and a throw-away database are never used because somebody forgot to set
a variable. All mistakes are reported at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeVar

import msgspec


class Store(StrEnum):
    """Where conversations are kept."""

    SQLITE = "sqlite"


class Model(StrEnum):
    """Who writes the replies."""

    DEMO = "demo"


class Recall(StrEnum):
    """What searches earlier records by meaning."""

    SQLITE = "sqlite"
    OFF = "off"


class IdentityProvider(StrEnum):
    """Whose tokens are accepted."""

    LOCAL = "local"


class Variable(msgspec.Struct, frozen=True):
    """One environment variable: its name, what it means, and what holds when it is unset or empty."""

    name: str
    meaning: str
    default: str | None = None


STORE = Variable("COACHSTREAM_STORE", "where conversations are kept: sqlite")
MODEL = Variable("COACHSTREAM_MODEL", "who writes the replies: demo (no language model, it says so)")
IDENTITY = Variable(
    "COACHSTREAM_IDENTITY", "whose tokens are accepted: local (the issuer of `coachstream serve`)"
)
RECALL = Variable("COACHSTREAM_RECALL", "what searches earlier records by meaning: sqlite or off", "off")
DATA_DIR = Variable("COACHSTREAM_DATA_DIR", "folder of the sqlite database and of the local issuer's keys")
MODEL_DELAY = Variable(
    "COACHSTREAM_MODEL_DELAY", "seconds between two pieces of the demo model's reply", "0.03"
)
HISTORY_BUDGET = Variable(
    "COACHSTREAM_HISTORY_BUDGET_CHARS", "how many characters of earlier messages a prompt may hold", "60000"
)
OPTIONAL_CONTEXT_BUDGET = Variable(
    "COACHSTREAM_OPTIONAL_CONTEXT_BUDGET_S",
    "seconds until a prompt does without the optional context that has not arrived",
    "1.5",
)
KEEP_ALIVE = Variable("COACHSTREAM_KEEP_ALIVE_S", "seconds of quiet before a stream carries a comment", "15")

VARIABLES = (
    STORE,
    MODEL,
    IDENTITY,
    RECALL,
    DATA_DIR,
    MODEL_DELAY,
    HISTORY_BUDGET,
    OPTIONAL_CONTEXT_BUDGET,
    KEEP_ALIVE,
)

_PLANNED = {
    STORE: {"dynamodb"},
    MODEL: {"bedrock"},
    IDENTITY: {"cognito"},
    RECALL: {"pinecone"},
}


class SettingsError(Exception):
    """The environment does not describe a service that can run.

    Attributes:
        problems: one sentence for each mistake, naming its variable.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Settings(msgspec.Struct, frozen=True):
    """The settings of one process; the variables say what each means."""

    store: Store
    model: Model
    identity: IdentityProvider
    data_dir: Path
    recall: Recall = Recall.OFF
    model_delay_s: float = 0.03
    history_budget_chars: int = 60_000
    optional_context_budget_s: float = 1.5
    keep_alive_s: float = 15.0

    @property
    def database(self) -> Path:
        """The file of the sqlite store."""
        return self.data_dir / "conversations.db"

    @property
    def recall_database(self) -> Path:
        """The file of the sqlite recall; of its own, since it can be built anew from the other one."""
        return self.data_dir / "recall.db"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check the variables.

        Raises:
            SettingsError: names every variable that is missing or wrong, and what it should be.
        """
        reader = _Reader(environment)
        settings = cls(
            store=reader.choice(STORE, Store),
            model=reader.choice(MODEL, Model),
            identity=reader.choice(IDENTITY, IdentityProvider),
            recall=reader.choice(RECALL, Recall),
            # Every adapter of this version keeps something on disk.
            data_dir=Path(reader.text(DATA_DIR)),
            model_delay_s=reader.number(MODEL_DELAY, least=0, most=60),
            history_budget_chars=reader.whole_number(HISTORY_BUDGET, least=0, most=10_000_000),
            optional_context_budget_s=reader.number(OPTIONAL_CONTEXT_BUDGET, least=0, most=60),
            keep_alive_s=reader.number(KEEP_ALIVE, least=0.1, most=3600),
        )
        if reader.problems:
            raise SettingsError(tuple(reader.problems))
        return settings

    def to_environment(self) -> dict[str, str]:
        """The variables from which `from_environment` makes these settings again, for a child process."""
        return {
            STORE.name: self.store,
            MODEL.name: self.model,
            IDENTITY.name: self.identity,
            RECALL.name: self.recall,
            DATA_DIR.name: str(self.data_dir),
            MODEL_DELAY.name: repr(self.model_delay_s),
            HISTORY_BUDGET.name: str(self.history_budget_chars),
            OPTIONAL_CONTEXT_BUDGET.name: repr(self.optional_context_budget_s),
            KEEP_ALIVE.name: repr(self.keep_alive_s),
        }


_Choice = TypeVar("_Choice", bound=StrEnum)


class _Reader:
    """Reads variables and collects what is wrong with them; a wrong one reads as something harmless."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self._environment = environment

    def text(self, variable: Variable) -> str:
        value = self._environment.get(variable.name, "").strip()
        if value:
            return value
        if variable.default is None:
            self.problems.append(f"{variable.name} is not set ({variable.meaning})")
        return variable.default or ""

    def choice(self, variable: Variable, choices: type[_Choice]) -> _Choice:
        text = self.text(variable).lower()
        for choice in choices:
            if text == choice:
                return choice
        known = " or ".join(choices)
        if text in _PLANNED.get(variable, ()):
            self.problems.append(f"{variable.name}={text} is not part of this version yet; use {known}")
        elif text:
            self.problems.append(f"{variable.name} must be {known}, not {text!r}")
        return next(iter(choices))

    def number(self, variable: Variable, *, least: float, most: float) -> float:
        text = self.text(variable)
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            self.problems.append(f"{variable.name} must be a number from {least:g} to {most:g}, not {text!r}")
            return least
        return number

    def whole_number(self, variable: Variable, *, least: int, most: int) -> int:
        number = self.number(variable, least=least, most=most)
        if number != int(number):
            self.problems.append(f"{variable.name} must be a whole number, not {number:g}")
        return int(number)
