"""A Function URL on localhost, for any Lambda runtime: `python -m lambda_streaming.emulator -- COMMAND...`.

In a program, put `ExecutionEnvironments` behind a `lambda_streaming.function_url.app.FunctionUrlApp`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambda_streaming.emulator.environments import ExecutionEnvironments

__all__ = ["ExecutionEnvironments"]


def __getattr__(name: str) -> object:
    # A command that starts no environment must not pay for importing the process and server modules.
    if name == "ExecutionEnvironments":
        from lambda_streaming.emulator.environments import ExecutionEnvironments

        return ExecutionEnvironments
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
