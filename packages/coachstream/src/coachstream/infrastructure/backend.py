"""The resources that the functions use, new or existing, by name."""

from __future__ import annotations

import re

import msgspec
from aws_cdk import Token

from coachstream.infrastructure.options import KEY_ARN, SECRET_ARN
from coachstream.settings.kinds import Matching


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """Names of resources; each may also be a reference within the stack.

    Attributes:
        table: the table's name, or its ARN if it is in another account.
        user_pool_id: id of the pool whose ID tokens are accepted.
        client_ids: ids of its app clients, at least one.
        packaged_keys: the file in the package with the pool's keys; None if there is none.
        pinecone_key_arn: ARN of the secret with Pinecone's API key; None without recall.
        ticket_key_arn: ARN of the secret that signs the tickets in the URLs that `EventSource` opens; None
            without tickets.
        kms_key_arns: ARNs of the customer managed KMS keys that encrypt the table or a secret.

    Raises:
        ValueError: there is no client, or the ARN of a secret or key is invalid.
    """

    table: str
    user_pool_id: str
    client_ids: tuple[str, ...]
    packaged_keys: str | None = None
    pinecone_key_arn: str | None = None
    ticket_key_arn: str | None = None
    kms_key_arns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Reject values that would otherwise fail at run time."""
        if not self.client_ids:
            raise ValueError("name at least one app client of the user pool")
        _check(SECRET_ARN, self.pinecone_key_arn, self.ticket_key_arn)
        # An alias can be pointed at another key, and policies cannot name aliases.
        _check(KEY_ARN, *self.kms_key_arns)


def _check(kind: Matching, *arns: str | None) -> None:
    for arn in arns:
        if arn is not None and not Token.is_unresolved(arn) and not re.fullmatch(kind.pattern, arn):
            raise ValueError(f"{arn!r} is not {kind.form}")
