"""`Secret`: a value that is used and never shown; `SecretArn`: where one is kept."""

from __future__ import annotations

import msgspec


class Secret:
    """Holds a value that no log, no traceback and no table may show; whoever must send it `reveal`s it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Hide a value.

        Raises:
            ValueError: it is empty, which is no secret.
        """
        if not value:
            raise ValueError("a secret cannot be empty")
        self._value = value

    def reveal(self) -> str:
        """The value itself, for whoever must send it."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written down")


class SecretArn(msgspec.Struct, frozen=True):
    """A secret in AWS Secrets Manager, which is read when it is first needed."""

    arn: str
