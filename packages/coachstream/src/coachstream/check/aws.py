"""Endpoints, credentials and connection errors of the backends on AWS."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from coachstream.aws.credential_faults import CredentialFault, credential_fault, fault_of_code
from coachstream.check.report import Trouble
from coachstream.extras import missing_aws

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})


async def aws_facts(service: str, region: str | None) -> dict[str, str]:
    """Return region and endpoint of a service, without requests or a search for credentials."""
    if missing_aws(service) is not None:
        return {}
    return await asyncio.to_thread(_aws_facts, service, region)


def _aws_facts(service: str, region: str | None) -> dict[str, str]:
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        # Explicit credentials keep the client from searching for them, which may make requests.
        client = Session().create_client(
            service,
            region,
            aws_access_key_id="none",
            aws_secret_access_key="none",  # noqa: S106
        )
    except (BotoCoreError, ValueError) as error:
        return {"region": region or "not set", "endpoint": f"none ({type(error).__name__})"}
    try:
        return {"region": client.meta.region_name, "endpoint": client.meta.endpoint_url}
    finally:
        client.close()


async def credentials_source(*, asks_for_role: bool = True) -> str | None:
    """Return where the SDK finds credentials, or None.

    Args:
        asks_for_role: whether to ask the machine or container for its role, which makes requests.

    Raises:
        Trouble: the AWS configuration cannot be used.
    """
    return await asyncio.to_thread(_credentials_source, asks_for_role=asks_for_role)


def _credentials_source(*, asks_for_role: bool) -> str | None:
    from botocore.session import Session

    with aws_trouble("", ""):
        providers = Session().get_component("credential_provider")
        if not asks_for_role:
            for provider in ("container-role", "iam-role"):
                providers.remove(provider)
        found = providers.load_credentials()
    return None if found is None else _SOURCES.get(found.method, found.method)


_SOURCES: Mapping[str, str] = {
    "env": "environment variables",
    "shared-credentials-file": "~/.aws/credentials",
    "config-file": "~/.aws/config",
    "iam-role": "the machine's role",
    "container-role": "the container's role",
}


@contextmanager
def aws_trouble(action: str, endpoint: str) -> Iterator[None]:
    """Map the SDK's errors.

    Args:
        action: the action, as named in policies (`dynamodb:GetItem`).
        endpoint: the endpoint that is called.

    Raises:
        Trouble: the request failed on our side or was denied; other errors of the service remain
            `ClientError`.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        trouble = _refusal(error, action)
        if trouble is None:
            raise
        raise trouble from None
    except BotoCoreError as error:
        raise _unsent(error, endpoint) from None
    except OSError as error:
        raise _unreachable(endpoint, type(error).__name__) from None


def code_of(error: ClientError) -> str:
    """Return the service's error code."""
    return error.response.get("Error", {}).get("Code", "no code")


def unexpected(error: ClientError, action: str) -> Trouble:
    """Describe any other error of a service."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "unknown")
    return Trouble(
        f"{action} failed with {code_of(error)} (status {status}).",
        "Try again; if it persists, check the service's health page.",
    )


def _refusal(error: ClientError, action: str) -> Trouble | None:
    code = code_of(error)
    if (fault := fault_of_code(code)) is not None:
        return _credentials(fault, code)
    if code in _DENIED:
        return Trouble(
            f"{action} is not allowed ({code}).", f"Allow {action} in the policy of the role or user."
        )
    return None


def _unsent(error: BotoCoreError, endpoint: str) -> Trouble:
    from botocore import exceptions

    name = type(error).__name__
    match error:
        case exceptions.NoRegionError() | exceptions.InvalidRegionError():
            return Trouble("No region is set.", "Set AWS_REGION.")
        case exceptions.ProfileNotFound():
            return Trouble("The profile in AWS_PROFILE does not exist.", "Create it, or set another one.")
        case _ if (fault := credential_fault(error)) is not None:
            return _credentials(fault, name)
        case exceptions.HTTPClientError() | exceptions.ConnectionError():
            return _unreachable(endpoint, name)
        case _:
            return Trouble(f"The request could not be made ({name}).", "Check the AWS variables and ~/.aws.")


def _credentials(fault: CredentialFault, name: str) -> Trouble:
    return Trouble(f"{fault[0].upper()}{fault[1:]} ({name}).", fault.remedy)


def _unreachable(endpoint: str, name: str) -> Trouble:
    return Trouble(
        f"{endpoint} cannot be reached ({name}).",
        "Check the region and the network. AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_<SERVICE> change the "
        "endpoint.",
    )
