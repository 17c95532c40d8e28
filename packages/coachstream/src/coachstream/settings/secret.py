"""`Secret`: a value that is used and never shown; `SecretArn`: the ARN of one."""

from __future__ import annotations

import msgspec


class Secret:
    """A value that is redacted in logs, tracebacks and tables; the code that sends it calls `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Wrap a value.

        Raises:
            ValueError: it is empty.
        """
        if not value:
            raise ValueError("a secret cannot be empty")
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the code that sends it."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled")


class SecretArn(msgspec.Struct, frozen=True):
    """The ARN of a secret in AWS Secrets Manager, which is read at its first use."""

    arn: str
