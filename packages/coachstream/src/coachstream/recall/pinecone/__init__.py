"""Semantic search in a Pinecone index with integrated embedding."""

from coachstream.recall.pinecone.options import PineconeOptions
from coachstream.recall.pinecone.recall import PineconeRecall

__all__ = ["PineconeOptions", "PineconeRecall"]
