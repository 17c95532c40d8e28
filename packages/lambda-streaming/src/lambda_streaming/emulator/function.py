"""The function that the emulator runs: its command, its limits, and the environment variables of Lambda.

Source of the variables: Lambda developer guide, "Using Lambda environment variables" (defined runtime
environment variables). Runtime clients refuse to start without several of them.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from lambda_streaming.emulator import policy

_HANDLER = re.compile(r"[\w][\w./-]*\.[A-Za-z_]\w*")
_FILES: Final = (".py", ".js", ".mjs", ".cjs", ".ts", ".sh", ".rb", ".jar", ".dll", ".so")
_DEFAULT_HANDLER: Final = "function.handler"
_NOT_INHERITED: Final = frozenset(
    # One belongs to a single invocation; the other is for `concurrency` to say.
    {"_X_AMZN_TRACE_ID", "AWS_LAMBDA_MAX_CONCURRENCY"}
)


class InvalidFunction(ValueError):
    """Raised for an invalid setting of a function."""


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """What runs in an execution environment. Validated on construction.

    Attributes:
        command: the program and its arguments; no shell interprets it.
        env: the environment variables, except those that Lambda sets.
        overrides: variables that override Lambda's, too.
        cwd: its working directory, by default the emulator's; LAMBDA_TASK_ROOT.
        name: AWS_LAMBDA_FUNCTION_NAME.
        memory_size_mb: AWS_LAMBDA_FUNCTION_MEMORY_SIZE; it limits nothing.
        timeout_s: the invocation timeout.
        init_timeout_s: the timeout for the start, until the runtime asks for an event.
        concurrency: how many invocations one environment runs at once; a Managed Instance runs several.

    Raises:
        InvalidFunction: no command, a time or size that is not positive, or a reserved variable.
    """

    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None = None
    overrides: Mapping[str, str] = {}
    name: str = "function"
    memory_size_mb: int = 128
    timeout_s: float = 30.0
    init_timeout_s: float = 10.0
    concurrency: int = 1

    def __post_init__(self) -> None:
        """Reject invalid values."""
        if not self.command:
            raise InvalidFunction("there is no command")
        if not self.name:
            raise InvalidFunction("the function's name is empty")
        if not (0 < self.timeout_s < math.inf and 0 < self.init_timeout_s < math.inf):
            raise InvalidFunction("timeouts must be finite and positive")
        if self.memory_size_mb <= 0:
            raise InvalidFunction("the memory size must be positive")
        if self.concurrency < 1:
            raise InvalidFunction("an environment must run at least one invocation at once")
        for name in policy.RESERVED_VARIABLES & self.overrides.keys():
            raise InvalidFunction(f"{name} is set by the emulator and cannot be changed")

    @property
    def region(self) -> str:
        """The region that the function sees."""
        known = {**self.env, **self.overrides}
        return known.get("AWS_REGION") or known.get("AWS_DEFAULT_REGION") or "us-east-1"

    @property
    def arn(self) -> str:
        """The ARN of the invoked function."""
        return f"arn:aws:lambda:{self.region}:{policy.ACCOUNT_ID}:function:{self.name}"

    @property
    def handler(self) -> str:
        """The handler's name: `_HANDLER`, or the command's last argument if it looks like one."""
        known = self.overrides.get("_HANDLER") or self.env.get("_HANDLER")
        if known:
            return known
        last = self.command[-1]
        if len(self.command) > 1 and _HANDLER.fullmatch(last) and not last.endswith(_FILES):
            return last
        return _DEFAULT_HANDLER

    def variables(self, runtime_api: str) -> dict[str, str]:
        """Return all environment variables of a new execution environment. Accesses the file system.

        Args:
            runtime_api: `host:port` of its Runtime API.
        """
        today = dt.datetime.now(dt.UTC)
        return {
            **{name: value for name, value in self.env.items() if name not in _NOT_INHERITED},
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "LAMBDA_TASK_ROOT": str((self.cwd or Path()).absolute()),
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "TZ": ":UTC",
            "_HANDLER": self.handler,
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_size_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{today:%Y/%m/%d}/[$LATEST]{uuid.uuid4().hex}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            **(self._of_managed_instance() if self.concurrency > 1 else {}),
            **self.overrides,
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
        }

    def _of_managed_instance(self) -> dict[str, str]:
        return {
            "AWS_LAMBDA_MAX_CONCURRENCY": str(self.concurrency),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
        }
