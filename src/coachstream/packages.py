"""Which parts need packages that are not installed with the rest."""

from __future__ import annotations

from importlib.util import find_spec

from coachstream.settings import BedrockSettings, DynamoDbSettings, PineconeSettings, Settings


def missing_packages(settings: Settings) -> tuple[str, ...]:
    """A sentence with the remedy for each package that the chosen parts need and that is not there."""
    hand_offs = settings.hand_offs
    needs_aws = {
        "DynamoDB": isinstance(settings.store, DynamoDbSettings),
        "Bedrock": isinstance(settings.model, BedrockSettings),
        "Hand-offs to functions": bool(hand_offs.workout_function or hand_offs.summary_function),
    }
    missing = [missing_aws(what) for what, is_needed in needs_aws.items() if is_needed]
    if isinstance(settings.recall, PineconeSettings) and find_spec("pinecone") is None:
        missing.append("Pinecone needs a package that is not installed: pip install 'coachstream[pinecone]'")
    return tuple(sentence for sentence in missing if sentence is not None)


def missing_aws(what: str) -> str | None:
    """The sentence for something that needs the AWS SDK; None where it is installed."""
    if find_spec("aiobotocore") is not None:
        return None
    return f"{what} needs a package that is not installed: pip install 'coachstream[aws]'"
