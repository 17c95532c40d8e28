"""Builds a Lambda layer with this package: `python -m lambda_streaming.layer`.

An existing function streams with the layer and one environment variable; its own package does not change.
"""
