"""Which backends need optional packages (extras) that are not installed."""

from __future__ import annotations

from importlib.util import find_spec

import msgspec

from coachstream.settings import BedrockSettings, DynamoDbSettings, HandOffs, PineconeSettings, Settings


class MissingPackage(msgspec.Struct, frozen=True):
    """A backend cannot be used because a package is missing; the extra named `extra` installs it."""

    what: str
    extra: str

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}"

    @property
    def problem(self) -> str:
        """The problem, as a sentence."""
        return f"{self.what} needs a package that is not installed."

    @property
    def remedy(self) -> str:
        """The command that solves it."""
        return f"pip install 'coachstream[{self.extra}]'"


def missing_packages(settings: Settings) -> tuple[MissingPackage, ...]:
    """The missing packages of the configured backends."""
    missing = (
        missing_aws("DynamoDB") if isinstance(settings.store, DynamoDbSettings) else None,
        missing_aws("Bedrock") if isinstance(settings.model, BedrockSettings) else None,
        missing_aws("A hand-off") if settings.hand_offs != HandOffs() else None,
        missing_aws("A secret in AWS Secrets Manager") if settings.secret_arns else None,
        missing_pinecone() if isinstance(settings.recall, PineconeSettings) else None,
    )
    return tuple(package for package in missing if package is not None)


def missing_aws(what: str) -> MissingPackage | None:
    """Return the missing AWS SDK, for a feature that needs it; None if it is installed."""
    return None if find_spec("aiobotocore") is not None else MissingPackage(what, "aws")


def missing_pinecone() -> MissingPackage | None:
    """Return Pinecone's missing SDK; None if it is installed."""
    return None if find_spec("pinecone") is not None else MissingPackage("Pinecone", "pinecone")
