"""What can go wrong with DynamoDB, mapped once.

A detail is for the log: it names the operation and what DynamoDB calls the failure, and never repeats
DynamoDB's sentence or the SDK's, which may quote what was to be stored.
"""

from __future__ import annotations

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
        "there is no such table",
        "`coachstream table create` makes it. Or is DYNAMODB_TABLE_NAME or AWS_REGION another one's?",
    ),
    "AccessDeniedException": (
        "the credentials do not allow it",
        "Allow the action on the table in the policy of the role or user.",
    ),
}
"""What is wrong, and what an operator can do, by DynamoDB's code."""

_READERS_OF_ANSWERS = ("botocore.parsers", "aiobotocore.parsers", "aiohttp.", "json.")
"""What breaks in here broke over an answer that is none; the SDK has no exception of its own for that."""


class ConditionFailed(Exception):
    """The condition of a write did not hold; nothing was written.

    Attributes:
        existing: the item that is there, if the write asked for it.
    """

    def __init__(self, existing: Item | None = None) -> None:
        super().__init__()
        self.existing = existing


class Cancelled(Exception):
    """A transaction was cancelled; nothing was written.

    Attributes:
        codes: a code for each of its writes, `None` where it is not to blame.
        existing: for each of its writes the item that is there, if its condition failed and it asks for it.
    """

    def __init__(self, codes: Sequence[str], existing: Sequence[Item | None]) -> None:
        super().__init__(", ".join(codes))
        self.codes = codes
        self.existing = existing


class NotSent(StorageUnavailable):
    """No connection came about, so DynamoDB has not heard of the request: any can be repeated."""


class Unanswered(StorageUnavailable):
    """DynamoDB was busy, or its answer was lost: it may have done the request or not."""


class Contended(StorageUnavailable):
    """Others write to the same items all the time."""


class RequestRefused(StorageUnavailable):
    """DynamoDB does not accept the request for what is stored or to be stored; repeating it does not help."""

    retryable = False


class UnusableTable(StorageUnavailable):
    """The table is missing, has other keys, or may not be used; waiting does not help."""

    retryable = False


class TableCredentials(NoCredentials, UnusableTable):
    """The credentials for the table are missing, expired or refused."""


@contextmanager
def storage_errors(operation: str, table: str) -> Iterator[None]:
    """Map what the SDK raises.

    Raises:
        ConditionFailed, Cancelled: as named.
        StorageUnavailable: everything else that DynamoDB, the network or the SDK's set-up can be blamed for.
            Other exceptions pass.
    """
    try:
        yield
    except Exception as error:
        mapped = _mapped(error, f"{operation} on table {table!r}")
        if mapped is None:
            raise
        # Not `from error`: its sentence may quote an item, and a traceback would print it.
        raise mapped from None


def _mapped(error: Exception, what: str) -> Exception | None:
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    if (fault := credential_fault(error)) is not None:
        code = _code_of(error) if isinstance(error, ClientError) else type(error).__name__
        return TableCredentials(f"{what}: {code}: {fault}", remedy=fault.remedy)
    if isinstance(error, ClientError):
        return _answered(error, what)
    if isinstance(error, BotoCoreError):
        return _unanswered(error, what)
    if isinstance(error, ResponseParserError):
        return StorageUnavailable(f"{what}: {type(error).__name__}")
    if _raised_in(error).startswith(_READERS_OF_ANSWERS):
        return StorageUnavailable(f"{what}: the answer cannot be read ({type(error).__name__})")
    return None


def _unanswered(error: BotoCoreError, what: str) -> StorageUnavailable:
    """No answer came; or the request was never sent."""
    from botocore import exceptions

    detail = f"{what}: {type(error).__name__}"
    match error:
        case exceptions.NoRegionError() | exceptions.InvalidRegionError():
            return UnusableTable(detail, remedy="Set AWS_REGION.")
        case exceptions.ParamValidationError():
            return RequestRefused(detail)
        case exceptions.HTTPClientError() | exceptions.ConnectionError():
            return NotSent(detail) if _is_before_sending(error) else Unanswered(detail)
        case _:
            return StorageUnavailable(detail)


def _is_before_sending(error: BotoCoreError) -> bool:
    """Whether a connection failed while it was being made; a proxy's or a TLS refusal will not go by itself.

    The SDK has one exception for a connection that was refused and for one that was reset in mid-request.
    """
    import socket

    from aiohttp import ClientConnectorError, ClientConnectorSSLError
    from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError

    if isinstance(error, ConnectTimeoutError):
        return True
    cause = getattr(error, "kwargs", {}).get("error")
    return (
        isinstance(error, EndpointConnectionError)
        and isinstance(cause, ClientConnectorError | socket.gaierror)
        and not isinstance(cause, ClientConnectorSSLError)
    )


def _raised_in(error: Exception) -> str:
    """The module whose code raised it."""
    innermost = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    return "" if innermost is None else str(innermost.tb_frame.f_globals.get("__name__", ""))


def _answered(error: ClientError, what: str) -> Exception:  # noqa: PLR0911 (one for each kind)
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
    detail = f"{what}: {code or 'an error without a name'} (HTTP {status})"
    if code == _CONFLICT:
        return Contended(detail)
    if code in _REFUSALS:
        return RequestRefused(detail)
    if code in _BUSY or (isinstance(status, int) and status >= HTTPStatus.INTERNAL_SERVER_ERROR):
        return Unanswered(detail)
    return StorageUnavailable(detail)


def _code_of(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")


def _existing(failure: Mapping[str, Any]) -> Item | None:
    item = failure.get("Item")
    return from_item(item) if item else None
