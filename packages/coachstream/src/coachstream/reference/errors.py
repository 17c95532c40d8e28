"""What a client does about each error code; everything else about a code is in `conversation.errors`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from coachstream.conversation.errors import ErrorCode, kind_of

_SIGN_IN = "Get a new ID token and send the request once more; if it is refused again, have the user sign in."
_FIX_REQUEST = "Fix the client: the same request will be refused again."
_GONE = "Close the conversation and reload the list of conversations."
_OPEN_AGAIN = "Read the run with an ID token, or `POST` the message again with the same `clientMessageId`."
_RETRY_LATER = "Send the message again with the same `clientMessageId`, with exponential backoff."
_OPERATOR = "Show the sentence and stop: a retry fails until an operator has fixed the cause."

CLIENT_ACTIONS: Mapping[ErrorCode, str] = {
    ErrorCode.MISSING_AUTH_HEADER: "Send `Authorization: Bearer <ID token>`.",
    ErrorCode.INVALID_TOKEN_FORMAT: "Send `Authorization: Bearer <ID token>` with a single JWT.",
    ErrorCode.INVALID_TOKEN: _SIGN_IN,
    ErrorCode.TOKEN_EXPIRED: _SIGN_IN,
    ErrorCode.MISSING_CUSTOM_USER_ID: "Have the account set up: the token lacks the claim `custom:user_id`.",
    ErrorCode.USER_ID_MISMATCH: "Use the user id of the signed-in user in the path.",
    ErrorCode.MISSING_PATH_PARAMS: _FIX_REQUEST,
    ErrorCode.METHOD_NOT_ALLOWED: "Use one of the methods in the `Allow` header.",
    ErrorCode.MISSING_REQUEST_BODY: _FIX_REQUEST,
    ErrorCode.INVALID_JSON: _FIX_REQUEST,
    ErrorCode.INVALID_USER_RESPONSE: "Ask the user for a message.",
    ErrorCode.ATTACHMENT_REJECTED: (
        "Show the sentence, keep the text, and let the user send it without the attachment: `userResponse` "
        "is the only content."
    ),
    ErrorCode.INVALID_TIMESTAMP: "Send a time such as `2026-03-01T12:00:00.000Z`, or leave the field out.",
    ErrorCode.INVALID_CLIENT_MESSAGE_ID: "Send 1 to 64 characters of `A-Za-z0-9_-`, a UUID for example.",
    ErrorCode.INVALID_TIME_ZONE: "Send a name such as `Europe/Berlin`, or leave the field out.",
    ErrorCode.INVALID_REQUEST: _FIX_REQUEST,
    ErrorCode.MESSAGE_TOO_LONG: "Ask the user to shorten the message.",
    ErrorCode.INVALID_TICKET: _OPEN_AGAIN,
    ErrorCode.TICKET_EXPIRED: _OPEN_AGAIN,
    ErrorCode.TICKETS_UNAVAILABLE: "Read the stream with `fetch` and an ID token instead of `EventSource`.",
    ErrorCode.RUN_NOT_FOUND: "Load the conversation: it has the reply, if that was completed.",
    ErrorCode.CONVERSATION_NOT_FOUND: _GONE,
    ErrorCode.COACH_CONFIG_NOT_FOUND: "Let the user choose another coach.",
    ErrorCode.TURN_IN_PROGRESS: (
        "Show the message as stored. Wait for the unfinished run `runId`, or stop it, then send the message "
        "again with the same `clientMessageId` to get its reply. Without `userMessage`, nothing is stored: "
        "offer to try again."
    ),
    ErrorCode.MESSAGE_WITHDRAWN: (
        "Remove the message: it is deleted. To send the text again, use a new `clientMessageId`."
    ),
    ErrorCode.IDEMPOTENCY_MISMATCH: "Send another text with a new `clientMessageId`.",
    ErrorCode.NOT_THE_LAST_EXCHANGE: "Load the conversation again, and offer the last exchange of that.",
    ErrorCode.CANNOT_CONTINUE: "Offer `regenerate` instead; show `continue` only for a reply that broke off.",
    ErrorCode.QUOTA_EXCEEDED: (
        "Show the sentence; the message is not stored. If `retryAfter` (seconds, as in `Retry-After`) is "
        "small, send it again after that time. `quota` is the quota that is used up."
    ),
    ErrorCode.SERVER_BUSY: "Send the message again after the number of seconds in `Retry-After`.",
    ErrorCode.TURN_INTERRUPTED: (
        "Show `partialMessage` as interrupted, and offer to send the message again with the same "
        "`clientMessageId`; its reply replaces the partial one."
    ),
    ErrorCode.MODEL_THROTTLED: _RETRY_LATER,
    ErrorCode.MODEL_UNAVAILABLE: _RETRY_LATER,
    ErrorCode.MODEL_STREAM_BROKEN: _RETRY_LATER,
    ErrorCode.MODEL_REJECTED: "Show the sentence; another message may be accepted.",
    ErrorCode.MODEL_NOT_USABLE: _OPERATOR,
    ErrorCode.CONTENT_FILTERED: "Show the sentence, and let the user write another message.",
    ErrorCode.DEADLINE_EXCEEDED: "Show `partialMessage`, if any, and offer to send the message again.",
    ErrorCode.STORAGE_UNAVAILABLE: f"{_RETRY_LATER} Stop if `retryable` is `false`.",
    ErrorCode.NO_CREDENTIALS: _OPERATOR,
    ErrorCode.PROCESSING_ERROR: f"{_RETRY_LATER} Give up after a few attempts.",
}
"""What to do, one sentence or two a code."""

DEPENDS_ON_CAUSE = frozenset({ErrorCode.STORAGE_UNAVAILABLE})
"""Codes whose `retryable` is `false` where the adapter knows that only an operator can help."""


def meaning_of(code: ErrorCode) -> str:
    """The first paragraph of the docstring of the exception that stands for the code."""
    paragraph = inspect.cleandoc(kind_of(code).__doc__ or "").partition("\n\n")[0]
    return " ".join(paragraph.split())
