"""Maps Pinecone's failures to the domain's error.

Details name the kind of failure, the status and the service's request id. They never include the service's
message, which may quote a query.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from coachstream.conversation.errors import NoCredentials, StorageUnavailable, describe_exception

_ERROR_CODE = re.compile(r"[A-Z][A-Z_]{0,40}")


class ApiKeyCredentials(NoCredentials, StorageUnavailable):
    """The AWS credentials for reading the API key's secret are missing, expired or rejected."""


def failure_of(error: Exception) -> StorageUnavailable:
    """Map an exception of the SDK, or of its import, to the domain's error."""
    if isinstance(error, ImportError):
        return StorageUnavailable(f"Pinecone's SDK cannot be loaded: there is no {error.name}")
    # Already imported by the code that raised.
    from pinecone.errors import ApiError, PineconeConnectionError, ResponseParsingError

    if isinstance(error, ApiError):
        code = error.error_code if _ERROR_CODE.fullmatch(error.error_code or "") else "no code"
        return StorageUnavailable(
            f"Pinecone: status {error.status_code}, {code} (request {error.request_id or 'unknown'})"
        )
    if isinstance(error, TimeoutError):  # includes the SDK's timeouts
        return StorageUnavailable("Pinecone: no response in time")
    if isinstance(error, PineconeConnectionError):
        return StorageUnavailable(f"Pinecone: no connection ({type(error.__cause__).__qualname__})")
    if isinstance(error, ResponseParsingError):
        return StorageUnavailable("Pinecone: a malformed response")
    return StorageUnavailable(f"Pinecone: {describe_exception(error)}")


def is_missing_namespace(error: Exception) -> bool:
    """Whether a deletion failed because there is no such namespace: nothing was ever stored in it.

    Pinecone has no code of its own for this; an index that is gone is a 404 as well (seen 2026-11-28).
    """
    status, message = getattr(error, "status_code", None), getattr(error, "message", None)
    return status == HTTPStatus.NOT_FOUND and "namespace not found" in str(message).lower()


def is_refused_key(error: Exception) -> bool:
    """Whether Pinecone rejected the API key."""
    status = getattr(error, "status_code", None)
    return status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
