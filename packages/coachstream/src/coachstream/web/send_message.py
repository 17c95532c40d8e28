"""The JSON contract of `send-coach-conversation-message` (existing system, section 2.1)."""

from __future__ import annotations

import msgspec

from coachstream.conversation.errors import CoachStreamError, ErrorCode
from coachstream.conversation.events import Completed, Failed, failed_by
from coachstream.web.frames import MessageFrame, PineconeContextFrame, message_frame, pinecone_context_frame
from coachstream.web.quotas import QuotaFrame, quota_frame

_EXISTING_SENTENCES = {
    ErrorCode.MISSING_AUTH_HEADER: "Authentication required",
    ErrorCode.MISSING_CUSTOM_USER_ID: "Custom userId not found. Please contact support.",
    ErrorCode.USER_ID_MISMATCH: "Access denied: can only access your own data",
    ErrorCode.MISSING_REQUEST_BODY: "Request body is required",
    ErrorCode.INVALID_USER_RESPONSE: "User response is required",
    ErrorCode.CONVERSATION_NOT_FOUND: "Conversation not found",
    ErrorCode.COACH_CONFIG_NOT_FOUND: "Coach configuration not found",
}
"""The messages of the existing function; clients may compare them."""


class SentBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Response to a message: both messages, as they are stored."""

    success: bool = True
    message: str = "Conversation updated successfully"
    user_response: MessageFrame
    ai_response: MessageFrame
    conversation_id: str
    pinecone_context: PineconeContextFrame


class ErrorDetails(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Code, sentence and stored messages, in addition to the existing function's contract."""

    code: str
    message: str
    retryable: bool
    partial_response: MessageFrame | None = None
    user_response: MessageFrame | None = None
    quota: QuotaFrame | None = None
    retry_after: int | None = None


class SendErrorBody(msgspec.Struct, frozen=True):
    """Response to a message that has no complete reply."""

    error: str
    details: ErrorDetails


def sent_body(completed: Completed) -> SentBody:
    """The response to a message that has a reply."""
    return SentBody(
        user_response=message_frame(completed.user_message),
        ai_response=message_frame(completed.reply),
        conversation_id=completed.conversation_id,
        pinecone_context=pinecone_context_frame(completed.semantic_context),
    )


def failed_body(failed: Failed) -> SendErrorBody:
    """The response to a message whose turn failed."""
    partial, waiting = failed.partial_reply, failed.user_message
    return SendErrorBody(
        error=_EXISTING_SENTENCES.get(failed.code, failed.sentence),
        details=ErrorDetails(
            failed.code.value,
            failed.sentence,
            failed.retryable,
            partial_response=None if partial is None else message_frame(partial),
            user_response=None if waiting is None else message_frame(waiting),
            quota=None if failed.quota is None else quota_frame(failed.quota),
            retry_after=failed.retry_after_s,
        ),
    )


def refused_body(error: CoachStreamError) -> SendErrorBody:
    """The response to a message whose turn did not begin."""
    return failed_body(failed_by(error))
