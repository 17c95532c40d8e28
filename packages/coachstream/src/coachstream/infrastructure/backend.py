"""What the functions work with, new or imported, by name."""

from __future__ import annotations

import msgspec
from aws_cdk import Token

from coachstream.infrastructure.option_rules import KEY_ARN, SECRET_ARN


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """Names of resources; each may also be a reference within the stack.

    Attributes:
        table: the table's name, or its ARN where it is another account's.
        user_pool_id: of the pool whose ID tokens are accepted.
        client_ids: of its app clients, at least one.
        packaged_keys: the file in the package with the pool's keys; None where it has none.
        pinecone_key_arn: of the secret that is Pinecone's API key; None where nothing is recalled.
        ticket_key_arn: of the secret that signs the tickets in the URLs that `EventSource` opens; None where
            there are none.
        kms_key_arns: of the customer managed keys of KMS that encrypt the table or a secret.

    Raises:
        ValueError: there is no client, or what should be the ARN of a secret or of a key is not.
    """

    table: str
    user_pool_id: str
    client_ids: tuple[str, ...]
    packaged_keys: str | None = None
    pinecone_key_arn: str | None = None
    ticket_key_arn: str | None = None
    kms_key_arns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what would only be refused at run time."""
        if not self.client_ids:
            raise ValueError("name an app client of the user pool at least")
        for arn in (self.pinecone_key_arn, self.ticket_key_arn):
            if arn is not None and not Token.is_unresolved(arn) and SECRET_ARN.problem_of(arn):
                raise ValueError(f"{arn!r} is not the whole ARN of a secret, as its console page shows it")
        for arn in self.kms_key_arns:
            if not Token.is_unresolved(arn) and KEY_ARN.problem_of(arn):
                # An alias may be pointed at another key, and no policy names one.
                raise ValueError(f"{arn!r} is not the ARN of a key of KMS")
