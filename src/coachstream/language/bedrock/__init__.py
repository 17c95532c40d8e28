"""Models on Amazon Bedrock, over the Converse API."""

from coachstream.language.bedrock.attempts import RetryPolicy
from coachstream.language.bedrock.model import BedrockModel, BedrockWholeReply
from coachstream.language.bedrock.options import DEFAULT_MODEL_ID, BedrockOptions

__all__ = ["DEFAULT_MODEL_ID", "BedrockModel", "BedrockOptions", "BedrockWholeReply", "RetryPolicy"]
