"""Secrets that the stack creates."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

_TICKET_KEY_CHARACTERS = 64


def new_pinecone_key(scope: Construct, construct_id: str) -> secretsmanager.Secret:
    """A placeholder for Pinecone's API key: you store the key there, so that it is not in the template.

    Until then it is a random string, which Pinecone rejects, so that turns run without recall.
    """
    return secretsmanager.Secret(
        scope,
        construct_id,
        description="Pinecone's API key, as plain text (aws secretsmanager put-secret-value --secret-string)",
        removal_policy=RemovalPolicy.RETAIN,
    )


def new_ticket_key(scope: Construct, construct_id: str) -> secretsmanager.Secret:
    """A random key that signs tickets. Changing it only invalidates tickets that are in use."""
    return secretsmanager.Secret(
        scope,
        construct_id,
        description="Signs the tickets in the URLs that EventSource opens",
        generate_secret_string=secretsmanager.SecretStringGenerator(
            password_length=_TICKET_KEY_CHARACTERS, exclude_punctuation=True
        ),
        removal_policy=RemovalPolicy.DESTROY,
    )
