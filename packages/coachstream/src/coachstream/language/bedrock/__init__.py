"""Models on Amazon Bedrock, over the Converse API."""

from coachstream.language.bedrock.attempts import RetryPolicy
from coachstream.language.bedrock.model import BedrockModel, BedrockWholeReply
from coachstream.language.bedrock.options import BedrockOptions
from coachstream.language.bedrock.parameters import RefusedParameters

__all__ = ["BedrockModel", "BedrockOptions", "BedrockWholeReply", "RefusedParameters", "RetryPolicy"]
