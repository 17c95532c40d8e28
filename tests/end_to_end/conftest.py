"""Servers that stand for AWS."""

from __future__ import annotations

from support.dynamodb import aws_credentials, dynamodb_local_url, moto_url

__all__ = ["aws_credentials", "dynamodb_local_url", "moto_url"]
