"""Credentials that are missing, expired or not valid: how AWS and its SDK say so, with the remedy.

Every adapter that calls AWS asks here. Whatever was asked of which service, these are faults of the process's
configuration, and an operator needs one sentence about what to do.
"""

from __future__ import annotations

from enum import StrEnum


class CredentialFault(StrEnum):
    """What is wrong with the credentials; the value is a sentence for the log."""

    MISSING = "there are no AWS credentials"
    EXPIRED = "the AWS credentials have expired"
    INVALID = "the AWS credentials are not valid"

    @property
    def remedy(self) -> str:
        """What an operator can do."""
        return _RENEW if self is CredentialFault.EXPIRED else _SET


_SET = (
    "Set AWS_PROFILE (after `aws sso login`, where the profile needs it), or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY; a function on Lambda has those of its role."
)
_RENEW = "Renew them, for example by `aws sso login`, and restart a process that has them in its environment."

_BY_CODE = {
    "UnrecognizedClient": CredentialFault.INVALID,
    "InvalidSignature": CredentialFault.INVALID,
    "IncompleteSignature": CredentialFault.INVALID,
    "InvalidClientTokenId": CredentialFault.INVALID,
    "InvalidAccessKeyId": CredentialFault.INVALID,
    "SignatureDoesNotMatch": CredentialFault.INVALID,
    "MissingAuthenticationToken": CredentialFault.MISSING,
    "ExpiredToken": CredentialFault.EXPIRED,
    "RequestExpired": CredentialFault.EXPIRED,
}
"""The services' codes, without `Exception` at the end (AWS API references, "Common errors")."""


def fault_of_code(code: str) -> CredentialFault | None:
    """What a service's code says about the credentials; None if it is about something else."""
    return _BY_CODE.get(code.removesuffix("Exception"))


def credential_fault(error: BaseException) -> CredentialFault | None:
    """What a failed call says about the credentials; None if it failed for another reason."""
    # Loaded already, by what raised.
    from botocore import exceptions

    match error:
        case exceptions.ClientError():
            return fault_of_code(error.response.get("Error", {}).get("Code", ""))
        case (
            exceptions.NoCredentialsError()
            | exceptions.PartialCredentialsError()
            | exceptions.CredentialRetrievalError()
            | exceptions.NoAuthTokenError()
            | exceptions.ProfileNotFound()
        ):
            return CredentialFault.MISSING
        case exceptions.SSOError() | exceptions.TokenRetrievalError() | exceptions.LoginError():
            return CredentialFault.EXPIRED
        case RuntimeError() if _is_raised_by_a_refresh(error):
            return CredentialFault.EXPIRED
        case _:
            return None


def _is_raised_by_a_refresh(error: RuntimeError) -> bool:
    """The SDK has no exception of its own for credentials that are expired when they come."""
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    module = "" if innermost is None else str(innermost.tb_frame.f_globals.get("__name__", ""))
    return module in {"botocore.credentials", "aiobotocore.credentials"}
