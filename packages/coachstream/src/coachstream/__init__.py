"""The coach conversation service: streamed replies from a serverless Python backend."""
