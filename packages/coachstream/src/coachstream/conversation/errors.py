"""All expected failures: one enum of codes, and one exception type per code.

A code is part of the public contract (design, section 4). The sentence is written for the person who reads
it in a chat; it never holds an exception's text. HTTP statuses belong to the web boundary, not here.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from coachstream.conversation.model import Message, QuotaLeft


class ErrorCode(StrEnum):
    """The codes of `error` events and error bodies."""

    MISSING_AUTH_HEADER = "MISSING_AUTH_HEADER"
    INVALID_TOKEN_FORMAT = "INVALID_TOKEN_FORMAT"
    INVALID_TOKEN = "INVALID_TOKEN"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"
    MISSING_CUSTOM_USER_ID = "MISSING_CUSTOM_USER_ID"
    USER_ID_MISMATCH = "USER_ID_MISMATCH"
    MISSING_PATH_PARAMS = "MISSING_PATH_PARAMS"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    MISSING_REQUEST_BODY = "MISSING_REQUEST_BODY"
    INVALID_JSON = "INVALID_JSON"
    INVALID_USER_RESPONSE = "INVALID_USER_RESPONSE"
    ATTACHMENT_REJECTED = "ATTACHMENT_REJECTED"
    INVALID_TIMESTAMP = "INVALID_TIMESTAMP"
    INVALID_CLIENT_MESSAGE_ID = "INVALID_CLIENT_MESSAGE_ID"
    INVALID_TIME_ZONE = "INVALID_TIME_ZONE"
    INVALID_REQUEST = "INVALID_REQUEST"
    MESSAGE_TOO_LONG = "MESSAGE_TOO_LONG"
    INVALID_TICKET = "INVALID_TICKET"
    TICKET_EXPIRED = "TICKET_EXPIRED"
    TICKETS_UNAVAILABLE = "TICKETS_UNAVAILABLE"
    RUN_NOT_FOUND = "RUN_NOT_FOUND"

    CONVERSATION_NOT_FOUND = "CONVERSATION_NOT_FOUND"
    COACH_CONFIG_NOT_FOUND = "COACH_CONFIG_NOT_FOUND"
    TURN_IN_PROGRESS = "TURN_IN_PROGRESS"
    MESSAGE_WITHDRAWN = "MESSAGE_WITHDRAWN"
    IDEMPOTENCY_MISMATCH = "IDEMPOTENCY_MISMATCH"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    SERVER_BUSY = "SERVER_BUSY"
    TURN_INTERRUPTED = "TURN_INTERRUPTED"
    MODEL_THROTTLED = "MODEL_THROTTLED"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    MODEL_STREAM_BROKEN = "MODEL_STREAM_BROKEN"
    MODEL_REJECTED = "MODEL_REJECTED"
    MODEL_NOT_USABLE = "MODEL_NOT_USABLE"
    CONTENT_FILTERED = "CONTENT_FILTERED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    NO_CREDENTIALS = "NO_CREDENTIALS"
    PROCESSING_ERROR = "PROCESSING_ERROR"


FOR_OPERATORS = frozenset(
    {
        ErrorCode.PROCESSING_ERROR,
        ErrorCode.STORAGE_UNAVAILABLE,
        ErrorCode.NO_CREDENTIALS,
        ErrorCode.MODEL_REJECTED,
        ErrorCode.MODEL_NOT_USABLE,
    }
)
"""Errors caused by neither the request nor a transient overload: an operator should look at each one."""


class CoachStreamError(Exception):
    """Base of all expected failures.

    Attributes:
        code: the public code.
        sentence: the message for the end user.
        retryable: whether the same request may succeed later without a change.
        remedy: what an operator can do, as a sentence for the log; empty if unknown.
    """

    code: ClassVar[ErrorCode] = ErrorCode.PROCESSING_ERROR
    sentence: ClassVar[str] = "Something went wrong on our side. Please try again."
    retryable: ClassVar[bool] = True

    def __init__(self, detail: str = "", *, remedy: str = "") -> None:
        """Keep both for the log; they never reach the client."""
        super().__init__(detail or self.code.value)
        self.remedy = remedy


class ProcessingError(CoachStreamError):
    """An unexpected failure of the service; its log has the details."""

    code = ErrorCode.PROCESSING_ERROR


class AuthenticationError(CoachStreamError):
    """The caller could not be verified."""

    retryable = False


class MissingAuthHeader(AuthenticationError):
    """The request carries no bearer token."""

    code = ErrorCode.MISSING_AUTH_HEADER
    sentence = "Please sign in to talk to your coach."


class InvalidTokenFormat(AuthenticationError):
    """The bearer token is not a JWT."""

    code = ErrorCode.INVALID_TOKEN_FORMAT
    sentence = "Your sign-in could not be read. Please sign in again."


class InvalidToken(AuthenticationError):
    """Signature, issuer, audience or use of the token is wrong."""

    code = ErrorCode.INVALID_TOKEN
    sentence = "Your sign-in could not be verified. Please sign in again."


class TokenExpired(AuthenticationError):
    """The token has expired."""

    code = ErrorCode.TOKEN_EXPIRED
    sentence = "Your sign-in has expired. Please sign in again."


class MissingCustomUserId(AuthenticationError):
    """The token is valid, but names no user of this application."""

    code = ErrorCode.MISSING_CUSTOM_USER_ID
    sentence = "Your account is not set up completely. Please contact support."


class UserIdMismatch(AuthenticationError):
    """The verified user is not the user in the path."""

    code = ErrorCode.USER_ID_MISMATCH
    sentence = "You can only open your own conversations."


class RequestError(CoachStreamError):
    """The request violates the contract; repeating it does not help."""

    retryable = False


class MissingPathParams(RequestError):
    """The path is not one of the routes, or a part of it cannot be an id."""

    code = ErrorCode.MISSING_PATH_PARAMS
    sentence = "This address does not name a conversation."


class MethodNotAllowed(RequestError):
    """The route exists, but not with this method."""

    code = ErrorCode.METHOD_NOT_ALLOWED
    sentence = "This address does not accept that kind of request."

    def __init__(self, allow: tuple[str, ...]) -> None:
        """Remember the methods that are allowed, for the `Allow` header."""
        super().__init__(f"allowed: {', '.join(allow)}")
        self.allow = allow


class MissingRequestBody(RequestError):
    """The request has no body, or only white space."""

    code = ErrorCode.MISSING_REQUEST_BODY
    sentence = "The request arrived without a message."


class InvalidJson(RequestError):
    """The body is not a JSON object."""

    code = ErrorCode.INVALID_JSON
    sentence = "The request could not be read."


class InvalidUserResponse(RequestError):
    """`userResponse` or `initialMessage` is not a string with a visible character."""

    code = ErrorCode.INVALID_USER_RESPONSE
    sentence = "Please write a message first."


class AttachmentRejected(RequestError):
    """The message has an image, a document, a recording or other content besides its text."""

    code = ErrorCode.ATTACHMENT_REJECTED
    sentence = (
        "Your coach can read text only. Please say in words what is in the attachment, and send the message "
        "without it."
    )


class InvalidTimestamp(RequestError):
    """`messageTimestamp` is not an ISO 8601 time with a zone, or is before 1970."""

    code = ErrorCode.INVALID_TIMESTAMP
    sentence = "The time of the message could not be read."


class InvalidClientMessageId(RequestError):
    """`clientMessageId` is not 1 to 64 characters of `A-Za-z0-9_-`."""

    code = ErrorCode.INVALID_CLIENT_MESSAGE_ID
    sentence = "The message's own id is not valid."


class InvalidTimeZone(RequestError):
    """`userTimezone` does not have the form of a name in the IANA time zone database."""

    code = ErrorCode.INVALID_TIME_ZONE
    sentence = "Your time zone could not be read."


class InvalidRequest(RequestError):
    """A field has an invalid value, a change has no fields, or what is asked for is not supported."""

    code = ErrorCode.INVALID_REQUEST
    sentence = "The request does not say what to change, or not in a way we understand."


class UnsupportedRequest(InvalidRequest):
    """A client of another wire protocol wants a second reply to a message."""

    sentence = "A message that was sent cannot be answered again. Please send a new one."


class InvalidCursor(InvalidRequest):
    """The position from which to continue an export is not one of this user's in this store."""

    sentence = "This export cannot be continued from there. Please start it again."


class MessageTooLong(RequestError):
    """`userResponse` or `initialMessage` is longer than the limit."""

    code = ErrorCode.MESSAGE_TOO_LONG
    sentence = "This message is too long. Please shorten it or send it in parts."


class InvalidTicket(AuthenticationError):
    """The ticket in the URL was not issued by this service, was altered, or is for another run."""

    code = ErrorCode.INVALID_TICKET
    sentence = "This link to a reply is not valid. Please open the conversation again."


class TicketExpired(AuthenticationError):
    """The ticket in the URL has expired."""

    code = ErrorCode.TICKET_EXPIRED
    sentence = "This link to a reply has expired. Please open the conversation again."


class TicketsUnavailable(RequestError):
    """The service has no key for tickets, so a run cannot be opened for an `EventSource`."""

    code = ErrorCode.TICKETS_UNAVAILABLE
    sentence = "Replies cannot be opened in this way here."


class RunNotFound(RequestError):
    """The conversation has no such run, or its log has expired."""

    code = ErrorCode.RUN_NOT_FOUND
    sentence = "This reply is not being written any more."


class ConversationNotFound(CoachStreamError):
    """The user has no such conversation with this coach."""

    code = ErrorCode.CONVERSATION_NOT_FOUND
    sentence = "This conversation does not exist any more."
    retryable = False


class CoachConfigNotFound(CoachStreamError):
    """The user has no such coach."""

    code = ErrorCode.COACH_CONFIG_NOT_FOUND
    sentence = "This coach does not exist any more."
    retryable = False


class TurnInProgress(CoachStreamError):
    """Another message of this conversation is still being answered; this one is stored and waits.

    Attributes:
        run_id: the run that writes the reply.
        user_message: the stored message. Its turn begins when it is sent again after that run has ended.
    """

    code = ErrorCode.TURN_IN_PROGRESS
    sentence = "Your coach is still answering. Your message is saved: send it again after the reply."

    def __init__(self, run_id: str, user_message: Message) -> None:
        """Remember the run, which can be joined or stopped, and the message."""
        super().__init__()
        self.run_id = run_id
        self.user_message = user_message


class MessageWithdrawn(CoachStreamError):
    """The message was withdrawn while it was in the queue; it is deleted and will not be answered."""

    code = ErrorCode.MESSAGE_WITHDRAWN
    sentence = "This message was withdrawn."
    retryable = False


class ServerBusy(CoachStreamError):
    """This process is running as many turns as it may; nothing of the request was stored.

    Attributes:
        retry_after_s: when to try again, in whole seconds.
    """

    code = ErrorCode.SERVER_BUSY
    sentence = "Many people are talking to their coaches right now. Please try again in a moment."
    retry_after_s: ClassVar[int] = 2


class IdempotencyMismatch(RequestError):
    """The idempotency key (`clientMessageId`) was sent before, with another text; nothing was stored.

    A message that was sent cannot be changed, and a new one needs a key of its own.
    """

    code = ErrorCode.IDEMPOTENCY_MISMATCH
    sentence = "A message that was sent cannot be changed. Please send a new one."


class QuotaExceeded(CoachStreamError):
    """The user has as many replies being written, turns in this minute or tokens on this day as allowed.

    Nothing of the request was stored.

    Attributes:
        quota: the quota that is used up.
        retry_after_s: when to try again, in whole seconds.
    """

    code = ErrorCode.QUOTA_EXCEEDED
    sentence = "You have reached the limit for messages to your coach. Please try again later."

    def __init__(self, quota: QuotaLeft, *, retry_after_s: int) -> None:
        """Remember the quota, for the client."""
        super().__init__(f"{quota.quota}: {quota.limit}")
        self.quota = quota
        self.retry_after_s = retry_after_s


class TurnInterrupted(CoachStreamError):
    """The process that wrote the reply died; what it had committed is stored."""

    code = ErrorCode.TURN_INTERRUPTED
    sentence = "The answer was interrupted. Please try again."


class ModelError(CoachStreamError):
    """The model did not produce a complete reply."""


class ModelThrottled(ModelError):
    """The model's service throttled the request."""

    code = ErrorCode.MODEL_THROTTLED
    sentence = "Your coach is very busy right now. Please try again in a moment."


class ModelUnavailable(ModelError):
    """The model could not be reached, or is not ready."""

    code = ErrorCode.MODEL_UNAVAILABLE
    sentence = "Your coach cannot be reached right now. Please try again in a moment."


class ModelStreamBroken(ModelError):
    """The model stopped in mid-reply, or produced no visible text."""

    code = ErrorCode.MODEL_STREAM_BROKEN
    sentence = "The answer broke off. Please try again."


class NoReply(ModelStreamBroken):
    """The model finished normally, but its reply has no visible text."""


class ModelRejected(ModelError):
    """The model's service refused this request; it may accept another one."""

    code = ErrorCode.MODEL_REJECTED
    sentence = "Your coach could not work with this request."
    retryable = False


class ModelNotUsable(ModelError):
    """The model cannot be used: past its end of life, not in this region, or no access for this account.

    No retry helps until an operator changes something, so clients must not retry automatically.
    """

    code = ErrorCode.MODEL_NOT_USABLE
    sentence = "Your coach is not available. The operators of this service have to correct a setting."
    retryable = False


class ContentFiltered(ModelError):
    """A content filter blocked the message or the reply."""

    code = ErrorCode.CONTENT_FILTERED
    sentence = "Your coach cannot answer this message. Please put it differently."
    retryable = False


class DeadlineExceeded(CoachStreamError):
    """The time for the turn ran out before the reply was complete."""

    code = ErrorCode.DEADLINE_EXCEEDED
    sentence = "The answer took too long. Please try again."


class StorageUnavailable(CoachStreamError):
    """The store failed or could not be reached."""

    code = ErrorCode.STORAGE_UNAVAILABLE
    sentence = "Your conversation could not be reached right now. Please try again in a moment."


class NoCredentials(CoachStreamError):
    """The service has no AWS credentials, or they have expired or are refused.

    No retry helps until an operator renews them. Adapters raise it combined with the error of their own
    port, so that a handler of that one handles this as well.
    """

    code = ErrorCode.NO_CREDENTIALS
    sentence = "This service is not set up correctly right now. Its operators have to correct that."
    retryable = False


class HandOffFailed(ProcessingError):
    """Another function could not be started; the failure is logged and does not fail the turn."""


def _kinds(kind: type[CoachStreamError]) -> Iterator[type[CoachStreamError]]:
    yield kind
    for special in kind.__subclasses__():
        yield from _kinds(special)


_KINDS = {kind.code: kind for kind in _kinds(CoachStreamError) if "code" in vars(kind)}


def kind_of(code: ErrorCode) -> type[CoachStreamError]:
    """The exception type that stands for a code; the first paragraph of its docstring is in the reference."""
    return _KINDS[code]


def sentence_of(code: ErrorCode) -> str:
    """What a person is told of an error whose code alone is known."""
    return kind_of(code).sentence


def log_failure(
    logger: logging.Logger, what: str, error: CoachStreamError, *, level: int = logging.INFO
) -> None:
    """Log a failure on one line: as an error with its remedy, where an operator can act, else at `level`."""
    if error.remedy:
        logger.error("%s with %s: %s. %s", what, error.code.value, error, error.remedy)
    else:
        logger.log(level, "%s with %s: %s", what, error.code.value, error)


def describe_exception(error: BaseException) -> str:
    """Describe an unexpected exception for the log: its type and its call stack, innermost frame first.

    Its text is left out because it may quote a message or a token.
    """
    places = (
        f"{frame.name} ({frame.filename}:{frame.lineno})"
        for frame in reversed(traceback.extract_tb(error.__traceback__))
    )
    return f"{type(error).__qualname__} in {' < '.join(places)}"
