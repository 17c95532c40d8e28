"""Finds unknown variable names, and suggests the ones that were probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from coachstream.settings.variables import READ_BY_OTHERS, VARIABLES

PREFIX = "COACHSTREAM_"
OTHER_PREFIXES = ("COACHSTREAM_DEPLOY_", "COACHSTREAM_TEST_")
"""Prefixes of deployment options, which have their own table, and of test suites."""

_KNOWN = frozenset(variable.name for variable in (*VARIABLES, *READ_BY_OTHERS))


def unknown_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence, without a full stop, for each unknown COACHSTREAM_ variable."""
    return tuple(
        f"{name} is not a variable of coachstream{_suggestion(name)}"
        for name in sorted(environment)
        if name.startswith(PREFIX) and not name.startswith(OTHER_PREFIXES) and name not in _KNOWN
    )


def probable_misspelling(name: str, environment: Mapping[str, str]) -> str | None:
    """Return the variable that is set and is probably a misspelling of `name`, which is not set."""
    unknown = (other for other in environment if other not in _KNOWN and not other.startswith(PREFIX))
    return _closest(name, unknown, least=0.8)


def _suggestion(name: str) -> str:
    ours = (known.removeprefix(PREFIX) for known in _KNOWN if known.startswith(PREFIX))
    meant = _closest(name.removeprefix(PREFIX), ours, least=0.6)
    return "" if meant is None else f" (did you mean {PREFIX}{meant}?)"


def _closest(name: str, candidates: Iterable[str], *, least: float) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, sorted(candidates), n=1, cutoff=least)), None)
