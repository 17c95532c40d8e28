"""Commands whose options are derived from declarations elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from inspect import Parameter


def with_parameters(
    command: Callable[..., None], *, first: Iterable[Parameter] = (), last: Iterable[Parameter] = ()
) -> Callable[..., None]:
    """Replace the `**` parameter of a command, which receives their values, by parameters that typer sees."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    parameters = [*first, *(each for each in own if each.kind is not each.VAR_KEYWORD), *last]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command
