"""What can go wrong between here and Pinecone, as the domain's error.

Details name the kind of failure, the status and the service's id of the request. They never hold the
service's sentence, which may quote a query.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from coachstream.conversation.errors import NoCredentials, StorageUnavailable, describe_exception

_ERROR_CODE = re.compile(r"[A-Z][A-Z_]{0,40}")


class ApiKeyCredentials(NoCredentials, StorageUnavailable):
    """The AWS credentials for the secret that is the API key are missing, expired or refused."""


def failure_of(error: Exception) -> StorageUnavailable:
    """The domain's error for whatever the SDK raised, or its import."""
    if isinstance(error, ImportError):
        return StorageUnavailable(f"Pinecone's SDK cannot be loaded: there is no {error.name}")
    # Loaded already, by what raised.
    from pinecone.errors import ApiError, PineconeConnectionError, ResponseParsingError

    if isinstance(error, ApiError):
        code = error.error_code if _ERROR_CODE.fullmatch(error.error_code or "") else "no code"
        return StorageUnavailable(
            f"Pinecone: status {error.status_code}, {code} (request {error.request_id or 'unknown'})"
        )
    if isinstance(error, TimeoutError):  # the SDK's are, too
        return StorageUnavailable("Pinecone: no answer in time")
    if isinstance(error, PineconeConnectionError):
        return StorageUnavailable(f"Pinecone: no connection ({type(error.__cause__).__qualname__})")
    if isinstance(error, ResponseParsingError):
        return StorageUnavailable("Pinecone: an answer that is none")
    return StorageUnavailable(f"Pinecone: {describe_exception(error)}")


def is_refused_key(error: Exception) -> bool:
    """Whether Pinecone refused the API key."""
    status = getattr(error, "status_code", None)
    return status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
