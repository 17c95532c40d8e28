"""The part of Bedrock's control plane that is asked about models (API reference, "Amazon Bedrock").

The SDK's own types for it are a package that nothing else needs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, TypedDict


class Lifecycle(TypedDict, total=False):
    """`FoundationModelLifecycle`; a model that has ended is not found at all."""

    status: str
    legacyTime: datetime
    endOfLifeTime: datetime


class ModelDetails(TypedDict, total=False):
    """`FoundationModelDetails`, as far as it is read."""

    modelId: str
    responseStreamingSupported: bool
    inferenceTypesSupported: list[str]
    modelLifecycle: Lifecycle


class FoundationModel(TypedDict):
    """The response of GetFoundationModel."""

    modelDetails: ModelDetails


class ProfileModel(TypedDict):
    """A model that a profile leads to; of a global profile, its ARN names no region."""

    modelArn: str


class InferenceProfile(TypedDict):
    """The response of GetInferenceProfile, as far as it is read."""

    models: list[ProfileModel]


class BedrockControlClient(Protocol):
    """The part of the SDK's client that is used."""

    async def get_foundation_model(self, *, modelIdentifier: str) -> FoundationModel:  # noqa: N803 (the API's name)
        """Raises `ClientError`."""

    async def get_inference_profile(self, *, inferenceProfileIdentifier: str) -> InferenceProfile:  # noqa: N803
        """Raises `ClientError`."""
