"""What can go wrong between here and a model, as the errors of the domain.

Details name the kind of failure and the service's own id of the request. They never hold the service's
sentence, for it may quote the prompt.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from coachstream.conversation.errors import (
    ModelError,
    ModelRejected,
    ModelStreamBroken,
    ModelThrottled,
    ModelUnavailable,
    whereabouts,
)

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

Kind = type[ModelError]

_BY_CODE: dict[str, Kind] = {
    "throttling": ModelThrottled,
    "toomanyrequests": ModelThrottled,
    "servicequotaexceeded": ModelThrottled,
    "serviceunavailable": ModelUnavailable,
    "internalserver": ModelUnavailable,
    "internalfailure": ModelUnavailable,
    "modelnotready": ModelUnavailable,
    "modeltimeout": ModelUnavailable,
    "modelerror": ModelUnavailable,
    "modelstreamerror": ModelUnavailable,
    "validation": ModelRejected,
    "accessdenied": ModelRejected,
    "resourcenotfound": ModelRejected,
    "unrecognizedclient": ModelRejected,
    "expiredtoken": ModelRejected,
}
"""The service's codes in lower case, without `Exception`: a stream writes `throttlingException`."""

_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.FAILED_DEPENDENCY}
"""Statuses under 500 with which the service speaks of itself, not of the request."""


def failure_of(error: Exception) -> ModelError:
    """The domain's error for whatever the SDK, the HTTP library or the connection raised."""
    # Loaded already, by what raised.
    from botocore.eventstream import ParserError
    from botocore.exceptions import BotoCoreError, ClientError

    kind: Kind
    if isinstance(error, ClientError):
        kind, detail = _answered(error)
    elif isinstance(error, ParserError):
        kind, detail = ModelStreamBroken, f"corrupt event stream: {type(error).__qualname__}"
    elif isinstance(error, BotoCoreError):
        kind, detail = _unanswered(error), type(error).__qualname__
    else:
        kind, detail = ModelUnavailable, whereabouts(error)
    return kind(detail)


def _answered(error: ClientError) -> tuple[Kind, str]:
    """The service said no, as the answer or as an event of the stream."""
    answer = error.response
    code = answer.get("Error", {}).get("Code", "")
    metadata = answer.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", HTTPStatus.OK)
    kind = _BY_CODE.get(code.lower().removesuffix("exception")) or _by_status(status)
    request_id = metadata.get("RequestId", "unknown")
    return kind, f"{error.operation_name}: {code or 'no code'} (status {status}, request {request_id})"


def _by_status(status: int) -> Kind:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ModelThrottled
    is_refusal = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return ModelRejected if is_refusal and status not in _TRANSIENT else ModelUnavailable


def _unanswered(error: BotoCoreError) -> Kind:
    """No answer, or none that can be read; or the request was never sent."""
    from botocore import exceptions

    transient = (
        exceptions.HTTPClientError,  # broken off, or silent for too long
        exceptions.ConnectionError,  # refused, no such host, TLS
        exceptions.CredentialRetrievalError,
        exceptions.MetadataRetrievalError,
    )
    # Everything else is a matter of configuration: no credentials, no region, a parameter out of its range.
    return ModelUnavailable if isinstance(error, transient) else ModelRejected
