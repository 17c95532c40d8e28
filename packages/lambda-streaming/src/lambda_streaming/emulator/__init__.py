"""A Function URL on localhost, for any Lambda runtime: `python -m lambda_streaming.emulator -- COMMAND...`.

In a program, put `ExecutionEnvironments` behind a `lambda_streaming.function_url.app.FunctionUrlApp`.
"""

from lambda_streaming.emulator.environments import ExecutionEnvironments

__all__ = ["ExecutionEnvironments"]
