"""Secrets in AWS Secrets Manager: can they be read?"""

from __future__ import annotations

from contextlib import suppress

from coachstream.aws.secrets import SecretUnavailable
from coachstream.check.aws import aws_facts, aws_trouble
from coachstream.check.report import Trouble
from coachstream.extras import missing_aws
from coachstream.services import Services

_ACTION = "secretsmanager:GetSecretValue"


async def secret_can_be_read(services: Services, arn: str, variable: str) -> None:
    """Read the secret whose ARN is in a variable.

    Raises:
        Trouble: it cannot be read.
    """
    if (missing := missing_aws("A secret in AWS Secrets Manager")) is not None:
        raise Trouble(missing.problem, missing.remedy)
    region = arn.split(":")[3]
    where = await aws_facts("secretsmanager", region)
    try:
        await services.secrets.read(arn)
    except SecretUnavailable as error:
        if error.code == "ResourceNotFoundException":
            raise Trouble(
                f"There is no secret with this ARN in {region}.", f"Check {variable} and the account."
            ) from None
        _raise_cause(error, where.get("endpoint", "Secrets Manager"))
        raise Trouble(f"The key is missing: {error}.", f"Check {variable}.") from None


def _raise_cause(error: SecretUnavailable, endpoint: str) -> None:
    """Raise `Trouble` for a cause that is common to all services."""
    from botocore.exceptions import ClientError

    if error.__cause__ is None:
        return
    with suppress(ClientError), aws_trouble(_ACTION, endpoint):
        raise error.__cause__
