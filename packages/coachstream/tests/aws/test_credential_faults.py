"""Every way in which AWS or its SDK reports faulty credentials, and some other failures."""

from __future__ import annotations

import datetime as dt

import botocore.credentials
import pytest
from botocore import exceptions

from coachstream.aws.credential_faults import CredentialFault, credential_fault


def refused(code: str) -> exceptions.ClientError:
    """A service's error response."""
    return exceptions.ClientError({"Error": {"Code": code, "Message": "no"}}, "Converse")


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (refused("UnrecognizedClientException"), CredentialFault.INVALID),
        (refused("InvalidClientTokenId"), CredentialFault.INVALID),
        (refused("SignatureDoesNotMatch"), CredentialFault.INVALID),
        (refused("MissingAuthenticationTokenException"), CredentialFault.MISSING),
        (refused("ExpiredTokenException"), CredentialFault.EXPIRED),
        (refused("ExpiredToken"), CredentialFault.EXPIRED),
        (exceptions.NoCredentialsError(), CredentialFault.MISSING),
        (exceptions.PartialCredentialsError(provider="env", cred_var="x"), CredentialFault.MISSING),
        (exceptions.CredentialRetrievalError(provider="p", error_msg="x"), CredentialFault.MISSING),
        (exceptions.ProfileNotFound(profile="coach"), CredentialFault.MISSING),
        (exceptions.UnauthorizedSSOTokenError(), CredentialFault.EXPIRED),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="x"), CredentialFault.EXPIRED),
        (refused("AccessDeniedException"), None),
        (refused("ValidationException"), None),
        (exceptions.NoRegionError(), None),
        (exceptions.ConnectTimeoutError(endpoint_url="x"), None),
        (RuntimeError("something else"), None),
    ],
    ids=repr,
)
def test_a_credential_fault_is_recognised(error: Exception, fault: CredentialFault | None) -> None:
    """No other failure is mistaken for one."""
    assert credential_fault(error) is fault


def test_credentials_that_come_expired_are_known() -> None:
    """The SDK raises a plain `RuntimeError` for them."""
    long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    stale = {"access_key": "a", "secret_key": "b", "token": "c", "expiry_time": long_ago.isoformat()}
    credentials = botocore.credentials.RefreshableCredentials(
        "a", "b", "c", long_ago, refresh_using=lambda: stale, method="test"
    )
    with pytest.raises(RuntimeError) as caught:
        credentials.get_frozen_credentials()
    assert credential_fault(caught.value) is CredentialFault.EXPIRED


@pytest.mark.parametrize("fault", CredentialFault)
def test_every_fault_has_a_remedy(fault: CredentialFault) -> None:
    """A complete sentence for the log."""
    assert fault.remedy.endswith(".")
