"""Fixtures for the package's tests."""

from support.lambda_package import lambda_package

__all__ = ["lambda_package"]
