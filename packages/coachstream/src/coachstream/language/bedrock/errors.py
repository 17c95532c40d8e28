"""Maps failures of a model call to the domain's errors.

Details name the kind of failure and the service's request id. They never include the service's message,
which may quote the prompt.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from coachstream.aws.credential_faults import credential_fault
from coachstream.conversation.errors import (
    ModelError,
    ModelNotUsable,
    ModelRejected,
    ModelStreamBroken,
    ModelThrottled,
    ModelUnavailable,
    NoCredentials,
    describe_exception,
)
from coachstream.language.bedrock.event_stream import CorruptEventStream
from coachstream.language.bedrock.parameters import Parameter
from coachstream.language.bedrock.refusals import Reason, meaning_of

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
}
"""The service's codes in lower case, without `Exception`: a stream writes `throttlingException`."""

_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.FAILED_DEPENDENCY}
"""Statuses below 500 that mean a failure of the service, not of the request."""


class ParameterRefused(ModelRejected):
    """The model rejects a parameter of the request, but may accept the request without it.

    Attributes:
        parameter: the rejected parameter.
    """

    def __init__(self, detail: str, parameter: Parameter) -> None:
        super().__init__(detail)
        self.parameter = parameter


class ModelCredentials(NoCredentials, ModelError):
    """The credentials for Bedrock are missing, expired or rejected."""


def failure_of(error: Exception, model_id: str) -> ModelError:
    """Map an exception of the SDK, the HTTP library or the connection to the domain's error."""
    # Already imported by the code that raised.
    from botocore.eventstream import ParserError
    from botocore.exceptions import BotoCoreError, ClientError

    if (fault := credential_fault(error)) is not None:
        detail = _detail(error) if isinstance(error, ClientError) else type(error).__qualname__
        return ModelCredentials(f"{fault} ({detail})", remedy=fault.remedy)
    if isinstance(error, ClientError):
        return _refusal(error, model_id)
    if isinstance(error, ParserError | CorruptEventStream):
        return ModelStreamBroken(f"corrupt event stream: {type(error).__qualname__}")
    if isinstance(error, BotoCoreError):
        return _unsent(error, model_id)
    return ModelUnavailable(describe_exception(error))


def _refusal(error: ClientError, model_id: str) -> ModelError:
    """Map an error response, or an error event of the stream."""
    refusal = error.response.get("Error", {})
    kind = refusal.get("Code", "").lower().removesuffix("exception")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", HTTPStatus.OK)
    detail = _detail(error)
    match meaning_of(kind, refusal.get("Message", "")):
        case Parameter() as parameter:
            return ParameterRefused(f"{detail}: {model_id} does not take {parameter}", parameter)
        case Reason() as reason:
            return _not_usable(reason, model_id, detail)
        case None:
            return (_BY_CODE.get(kind) or _by_status(status))(detail)


def _detail(error: ClientError) -> str:
    """The operation, the service's error code, the status, and the service's request id."""
    code = error.response.get("Error", {}).get("Code", "")
    metadata = error.response.get("ResponseMetadata", {})
    status, request_id = metadata.get("HTTPStatusCode", HTTPStatus.OK), metadata.get("RequestId", "unknown")
    return f"{error.operation_name}: {code or 'no code'} (status {status}, request {request_id})"


def _by_status(status: int) -> Kind:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return ModelThrottled
    is_refusal = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return ModelRejected if is_refusal and status not in _TRANSIENT else ModelUnavailable


def _unsent(error: BotoCoreError, model_id: str) -> ModelError:
    """Map a missing or malformed response, or a request that was never sent."""
    from botocore import exceptions

    name = type(error).__qualname__
    transient = (
        exceptions.HTTPClientError,  # disconnected or timed out
        exceptions.ConnectionError,  # refused, no such host, TLS
        exceptions.MetadataRetrievalError,
    )
    if isinstance(error, transient):
        return ModelUnavailable(name)
    # All others are configuration errors: a parameter out of range, an endpoint that is not a URL.
    is_regionless = isinstance(error, exceptions.NoRegionError | exceptions.InvalidRegionError)
    return _not_usable(Reason.NO_REGION if is_regionless else Reason.SETTINGS, model_id, name)


def _not_usable(reason: Reason, model_id: str, detail: str) -> ModelNotUsable:
    return ModelNotUsable(f"{model_id} cannot be used: {reason} ({detail})", remedy=reason.remedy)
