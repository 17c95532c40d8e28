"""Maps DynamoDB's failures in one place.

Details are for the log: they name the operation and DynamoDB's error code, and never repeat the message of
DynamoDB or the SDK, which may quote the data to be stored.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from coachstream.aws.credential_faults import credential_fault
from coachstream.conversation.errors import NoCredentials, StorageUnavailable
from coachstream.storage.dynamodb.attribute_values import Item, from_item

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

CONDITION_FAILED = "ConditionalCheckFailedException"
TRANSACTION_CANCELLED = "TransactionCanceledException"

_CONFLICT = "TransactionConflictException"
_REFUSALS = frozenset({"ValidationException", "ItemCollectionSizeLimitExceededException"})
_BUSY = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)
_REMEDIES = {
    "ResourceNotFoundException": (
        "the table does not exist",
        "Create it with `coachstream table create`, or correct DYNAMODB_TABLE_NAME or AWS_REGION.",
    ),
    "AccessDeniedException": (
        "the credentials do not allow the action",
        "Allow the action on the table in the policy of the role or user.",
    ),
}
"""The problem and the remedy for an operator, by DynamoDB's error code."""

_RESPONSE_PARSERS = ("botocore.parsers", "aiobotocore.parsers", "aiohttp.", "json.")
"""Errors raised in these modules mean a malformed response; the SDK has no exception for that."""


class ConditionFailed(Exception):
    """The condition of a write did not hold; nothing was written.

    Attributes:
        existing: the existing item, if the write requested it.
    """

    def __init__(self, existing: Item | None = None) -> None:
        super().__init__()
        self.existing = existing


class Cancelled(Exception):
    """A transaction was cancelled; nothing was written.

    Attributes:
        codes: a code for each write, `None` for those that did not fail.
        existing: for each write the existing item, if its condition failed and it requested the item.
    """

    def __init__(self, codes: Sequence[str], existing: Sequence[Item | None]) -> None:
        super().__init__(", ".join(codes))
        self.codes = codes
        self.existing = existing


class NotSent(StorageUnavailable):
    """No connection was made, so DynamoDB never received the request; any request can be retried."""


class OutcomeUnknown(StorageUnavailable):
    """DynamoDB was busy, or its response was lost: the request may or may not have been executed."""


class Contended(StorageUnavailable):
    """Contention: other processes keep writing to the same items."""


class RequestRefused(StorageUnavailable):
    """DynamoDB rejects the request because of the stored data or the new data; a retry does not help."""

    retryable = False


class UnusableTable(StorageUnavailable):
    """The table is missing, has other keys, or may not be used; waiting does not help."""

    retryable = False


class TableCredentials(NoCredentials, UnusableTable):
    """The credentials for the table are missing, expired or rejected."""


@contextmanager
def storage_errors(operation: str, table: str) -> Iterator[None]:
    """Map the SDK's exceptions.

    Raises:
        ConditionFailed, Cancelled: as named.
        StorageUnavailable: any other failure of DynamoDB, the network or the SDK's configuration.
            Other exceptions propagate unchanged.
    """
    try:
        yield
    except Exception as error:
        mapped = _mapped(error, f"{operation} on table {table!r}")
        if mapped is None:
            raise
        # Not `from error`: its message may quote an item, and a traceback would print it.
        raise mapped from None


def _mapped(error: Exception, what: str) -> Exception | None:
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    if (fault := credential_fault(error)) is not None:
        code = _code_of(error) if isinstance(error, ClientError) else type(error).__name__
        return TableCredentials(f"{what}: {code}: {fault}", remedy=fault.remedy)
    if isinstance(error, ClientError):
        return _mapped_response(error, what)
    if isinstance(error, BotoCoreError):
        return _mapped_without_response(error, what)
    if isinstance(error, ResponseParserError):
        return StorageUnavailable(f"{what}: {type(error).__name__}")
    if _raised_in(error).startswith(_RESPONSE_PARSERS):
        return StorageUnavailable(f"{what}: the response cannot be parsed ({type(error).__name__})")
    return None


def _mapped_without_response(error: BotoCoreError, what: str) -> StorageUnavailable:
    """No response arrived, or the request was never sent."""
    from botocore import exceptions

    detail = f"{what}: {type(error).__name__}"
    match error:
        case exceptions.NoRegionError() | exceptions.InvalidRegionError():
            return UnusableTable(detail, remedy="Set AWS_REGION.")
        case exceptions.ParamValidationError():
            return RequestRefused(detail)
        case exceptions.ChecksumError():
            return OutcomeUnknown(detail)
        case exceptions.HTTPClientError() | exceptions.ConnectionError():
            return NotSent(detail) if _is_before_sending(error) else OutcomeUnknown(detail)
        case _:
            return StorageUnavailable(detail)


def _is_before_sending(error: BotoCoreError) -> bool:
    """Whether connecting failed, except for a proxy or TLS rejection, which a retry cannot resolve.

    The SDK raises the same exception for a refused connection and for one that was reset mid-request.
    """
    from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

    if isinstance(error, ConnectTimeoutError):
        return True
    cause = getattr(error, "kwargs", {}).get("error")
    if not isinstance(error, EndpointConnectionError) or not isinstance(cause, OSError):
        return False
    aiohttp = sys.modules.get("aiohttp")
    if aiohttp is None or not isinstance(cause, aiohttp.ClientError):
        return True  # raised only while a connection is made
    return isinstance(cause, aiohttp.ClientConnectorError) and not isinstance(
        cause, aiohttp.ClientConnectorSSLError
    )


def _raised_in(error: Exception) -> str:
    """The name of the module whose code raised the error."""
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    return "" if innermost is None else str(innermost.tb_frame.f_globals.get("__name__", ""))


def _mapped_response(error: ClientError, what: str) -> Exception:  # noqa: PLR0911 (one for each kind)
    code = _code_of(error)
    if code == CONDITION_FAILED:
        return ConditionFailed(_existing(error.response))
    reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]
    if code == TRANSACTION_CANCELLED and reasons:
        codes = [reason.get("Code", "None") for reason in reasons]
        return Cancelled(codes, [_existing(reason) for reason in reasons])
    if code in _REMEDIES:
        problem, remedy = _REMEDIES[code]
        return UnusableTable(f"{what}: {code}: {problem}", remedy=remedy)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    detail = f"{what}: {code or 'an error without a code'} (HTTP {status})"
    if code == _CONFLICT:
        return Contended(detail)
    if code in _REFUSALS:
        return RequestRefused(detail)
    if code in _BUSY or (isinstance(status, int) and status >= HTTPStatus.INTERNAL_SERVER_ERROR):
        return OutcomeUnknown(detail)
    return StorageUnavailable(detail)


def _code_of(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _existing(failure: Mapping[str, Any]) -> Item | None:
    item = failure.get("Item")
    return from_item(item) if item else None
