"""The HTTP status of every error code, for errors before a stream has started."""

from __future__ import annotations

from coachstream.conversation.errors import (
    AuthenticationError,
    CoachStreamError,
    ErrorCode,
    MethodNotAllowed,
    MissingAuthHeader,
    QuotaExceeded,
    ServerBusy,
)
from coachstream.conversation.events import Failed
from coachstream.web.quotas import rate_limit_fields

HTTP_STATUS: dict[ErrorCode, int] = {
    ErrorCode.MISSING_AUTH_HEADER: 401,
    ErrorCode.INVALID_TOKEN_FORMAT: 401,
    ErrorCode.INVALID_TOKEN: 401,
    ErrorCode.TOKEN_EXPIRED: 401,
    ErrorCode.MISSING_CUSTOM_USER_ID: 403,
    ErrorCode.USER_ID_MISMATCH: 403,
    ErrorCode.MISSING_PATH_PARAMS: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.MISSING_REQUEST_BODY: 400,
    ErrorCode.INVALID_JSON: 400,
    ErrorCode.INVALID_USER_RESPONSE: 400,
    ErrorCode.ATTACHMENT_REJECTED: 400,
    ErrorCode.INVALID_TIMESTAMP: 400,
    ErrorCode.INVALID_CLIENT_MESSAGE_ID: 400,
    ErrorCode.INVALID_TIME_ZONE: 400,
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.MESSAGE_TOO_LONG: 413,
    ErrorCode.INVALID_TICKET: 401,
    ErrorCode.TICKET_EXPIRED: 401,
    ErrorCode.TICKETS_UNAVAILABLE: 501,
    ErrorCode.RUN_NOT_FOUND: 404,
    ErrorCode.CONVERSATION_NOT_FOUND: 404,
    ErrorCode.COACH_CONFIG_NOT_FOUND: 404,
    ErrorCode.TURN_IN_PROGRESS: 409,
    ErrorCode.MESSAGE_WITHDRAWN: 410,
    ErrorCode.IDEMPOTENCY_MISMATCH: 409,
    ErrorCode.QUOTA_EXCEEDED: 429,
    ErrorCode.SERVER_BUSY: 503,
    ErrorCode.TURN_INTERRUPTED: 503,
    ErrorCode.MODEL_THROTTLED: 503,
    ErrorCode.MODEL_UNAVAILABLE: 503,
    ErrorCode.MODEL_STREAM_BROKEN: 502,
    ErrorCode.MODEL_REJECTED: 502,
    ErrorCode.MODEL_NOT_USABLE: 502,
    ErrorCode.CONTENT_FILTERED: 422,
    ErrorCode.DEADLINE_EXCEEDED: 504,
    ErrorCode.STORAGE_UNAVAILABLE: 503,
    ErrorCode.NO_CREDENTIALS: 500,
    ErrorCode.PROCESSING_ERROR: 500,
}


def error_headers(error: CoachStreamError) -> dict[str, str]:
    """The headers of a status: `Allow` with 405, `WWW-Authenticate` with 401, `Retry-After` and quotas."""
    if isinstance(error, ServerBusy):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, QuotaExceeded):
        return {"Retry-After": str(error.retry_after_s), **rate_limit_fields([error.quota])}
    if isinstance(error, MethodNotAllowed):
        return {"Allow": ", ".join(error.allow)}
    if isinstance(error, AuthenticationError) and HTTP_STATUS[error.code] == 401:  # noqa: PLR2004
        # RFC 6750, section 3: no error code if no credentials were given.
        missing = isinstance(error, MissingAuthHeader)
        return {"WWW-Authenticate": "Bearer" if missing else 'Bearer error="invalid_token"'}
    return {}


def failed_headers(failed: Failed) -> dict[str, str]:
    """The headers of a turn that failed, where its response is one document."""
    if failed.quota is None or failed.retry_after_s is None:
        return {}
    return {"Retry-After": str(failed.retry_after_s), **rate_limit_fields([failed.quota])}
