"""Which parts need packages that are not installed with the rest."""

from __future__ import annotations

from importlib.util import find_spec

import msgspec

from coachstream.settings import BedrockSettings, DynamoDbSettings, PineconeSettings, Settings


class MissingPackage(msgspec.Struct, frozen=True):
    """Something cannot be used for want of a package; `extra` of ours brings it."""

    what: str
    extra: str

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}"

    @property
    def problem(self) -> str:
        """What is wrong."""
        return f"{self.what} needs a package that is not installed."

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return f"pip install 'coachstream[{self.extra}]'"


def missing_packages(settings: Settings) -> tuple[MissingPackage, ...]:
    """What the chosen parts need and is not there."""
    hand_offs = settings.hand_offs
    missing = (
        missing_aws("DynamoDB") if isinstance(settings.store, DynamoDbSettings) else None,
        missing_aws("Bedrock") if isinstance(settings.model, BedrockSettings) else None,
        missing_aws("A hand-off") if hand_offs.workout_function or hand_offs.summary_function else None,
        missing_aws("A secret in AWS Secrets Manager") if settings.secret_arns else None,
        missing_pinecone() if isinstance(settings.recall, PineconeSettings) else None,
    )
    return tuple(package for package in missing if package is not None)


def missing_aws(what: str) -> MissingPackage | None:
    """For something that needs the AWS SDK; None where that is installed."""
    return None if find_spec("aiobotocore") is not None else MissingPackage(what, "aws")


def missing_pinecone() -> MissingPackage | None:
    """For recall in Pinecone; None where its SDK is installed."""
    return None if find_spec("pinecone") is not None else MissingPackage("Pinecone", "pinecone")
