"""Semantic search over a user's records."""
