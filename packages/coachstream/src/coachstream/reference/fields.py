"""One sentence for each field on the wire."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.web import conversations, frames, request_body, run_requests, send_message
from coachstream.web.request_body import (
    MAX_MESSAGE_CHARS,
    MAX_TAG_CHARS,
    MAX_TAGS,
    MAX_TITLE_CHARS,
)

_CHARS = "code points"
_VISIBLE = "with at least one visible character"
_RUN_ID = "The id of the run, `run_…`."
_CONVERSATION_ID = "The id of the conversation, `conv_…`."
_COACH_ID = "The id of the coach."
_USER_ID = "The id of the user."
_SUCCESS = "Always `true`."
_USER_MESSAGE = "The user's message, as it is stored."
_REPLY = "The coach's reply, as it is stored."
_SEMANTIC = "How much of the semantic search reached the prompt."
_SENTENCE = "A sentence for the user."
_CODE = "What went wrong; see [errors](errors.md)."
_RETRYABLE = "Whether the same request may succeed later without a change."
_TIME_ZONE = (
    "The user's time zone, in which the coach reckons dates: the name that "
    "`Intl.DateTimeFormat().resolvedOptions().timeZone` gives. A name that the service's database does not "
    "have, `null`, an empty string or absent: the zone in the user's profile, else `COACHSTREAM_TIME_ZONE`."
)
_MESSAGE = f"What the user wrote: a string of at most {MAX_MESSAGE_CHARS:,} {_CHARS} {_VISIBLE}."
_TITLE = f"A string of at most {MAX_TITLE_CHARS} {_CHARS} {_VISIBLE}."

FIELDS: Mapping[type[msgspec.Struct], Mapping[str, str]] = {
    frames.MessageMetadataFrame: {
        "model": "Display name of the model that wrote a reply.",
        "stopReason": "Why a reply ended; `interrupted` marks a partial one.",
        "clientMessageId": "The idempotency key that the client sent with a user message.",
        "replyTo": "The id of the user message that a reply answers.",
        "guardrailWarning": "`true` for a reply that a guardrail flagged and kept; absent otherwise.",
    },
    frames.MessageFrame: {
        "id": "Sorts by time within the conversation, as a string.",
        "role": "Who wrote it.",
        "content": "The text.",
        "timestamp": "When it was written, in UTC with milliseconds.",
        "metadata": "Absent where nothing is known.",
    },
    frames.PineconeContextFrame: {
        "used": "Whether the prompt held any match.",
        "matches": "How many matches the prompt held.",
        "contextLength": "How long they were together, in characters.",
    },
    frames.UsageFrame: {
        "inputTokens": "Input tokens, as the model's service reports them.",
        "outputTokens": "Output tokens, as the model's service reports them.",
        "cacheReadTokens": "Tokens that were read from the model's prompt cache.",
        "cacheWriteTokens": "Tokens that were written to the model's prompt cache.",
    },
    frames.TimingsFrame: {
        "contextMs": "Until the prompt's context was loaded.",
        "firstChunkMs": "Until the first chunk; `null` where it is not known.",
        "totalMs": "Until the turn ended.",
        "modelLatencyMs": "What the model's service reports as its latency; 0 where it reports none.",
    },
    frames.StartFrame: {
        "status": "Always `initialized`.",
        "runId": "The run that is read; only over `GET`, where it is known when the stream begins.",
    },
    frames.RunFrame: {"runId": "The run that writes the reply."},
    frames.ChunkFrame: {
        "content": "The text; never cut inside a code point.",
        "offset": "Where it begins in the reply, in UTF-16 code units.",
    },
    frames.ContextualFrame: {
        "content": "A sentence for the user, in the language of the message where the service has it.",
        "stage": "`memory_saved`, `memory_not_saved`, `memory_withdrawn`, `workout_handed_off` or "
        "`workout_not_handed_off`; others may follow.",
    },
    frames.GuardrailWarningFrame: {"message": "A sentence for the user, in English."},
    frames.ResetFrame: {"offset": "From where on the text no longer holds, in UTF-16 code units."},
    frames.ReconnectFrame: {"after": "The cursor to resume at: send it as `?after=` or `Last-Event-ID`."},
    frames.CompleteFrame: {
        "messageId": "The id of the reply.",
        "status": "Always `finished`.",
        "userMessage": _USER_MESSAGE,
        "aiMessage": _REPLY,
        "conversationId": _CONVERSATION_ID,
        "pineconeContext": _SEMANTIC,
        "stopReason": "The model's own reason, `stopped` where the user stopped the reply, or "
        "`guardrail_warning` where a guardrail flagged it.",
        "usage": "What the model call consumed; zeros where that is not known any more.",
        "timings": "How long the turn took, in milliseconds from its beginning.",
    },
    frames.ErrorFrame: {
        "message": _SENTENCE,
        "code": _CODE,
        "retryable": _RETRYABLE,
        "partialMessage": "The part of the reply that was stored, where one was.",
        "runId": "With `TURN_IN_PROGRESS`: the unfinished run, which can be read or stopped.",
        "userMessage": "With `TURN_IN_PROGRESS`: the message as it is stored; its turn has not begun.",
    },
    conversations.ConversationMetadataBody: {
        "startedAt": "When the conversation was created, in UTC with milliseconds.",
        "lastActivity": "When it was last written to, in UTC with milliseconds.",
        "totalMessages": "How many messages it has.",
        "isActive": "Set by the client; the service does not act on it.",
        "tags": "Set by the client.",
    },
    conversations.ConversationBody: {
        "conversationId": _CONVERSATION_ID,
        "coachId": _COACH_ID,
        "userId": _USER_ID,
        "title": "The title.",
        "metadata": "Everything else about the conversation but its messages.",
        "messages": "The oldest first; absent in a list and after a change, empty after a creation.",
    },
    conversations.OneConversationBody: {"success": _SUCCESS, "conversation": "The conversation."},
    conversations.ConversationListBody: {
        "success": _SUCCESS,
        "conversations": "All conversations of the user with the coach, the latest activity first.",
        "count": "How many there are.",
    },
    conversations.CountBody: {
        "success": _SUCCESS,
        "totalCount": "How many conversations the user has with the coach.",
        "totalMessages": "How many messages they have together.",
    },
    conversations.DeletedBody: {
        "success": _SUCCESS,
        "message": "`Conversation deleted successfully`.",
        "conversationId": _CONVERSATION_ID,
        "coachId": _COACH_ID,
        "userId": _USER_ID,
        "pineconeCleanup": "Whether the conversation's summaries were removed from the semantic memory.",
    },
    conversations.ErrorBody: {"error": _SENTENCE, "code": _CODE},
    send_message.SentBody: {
        "success": _SUCCESS,
        "message": "`Conversation updated successfully`.",
        "userResponse": _USER_MESSAGE,
        "aiResponse": _REPLY,
        "conversationId": _CONVERSATION_ID,
        "pineconeContext": _SEMANTIC,
    },
    send_message.ErrorDetails: {
        "code": _CODE,
        "message": _SENTENCE,
        "retryable": _RETRYABLE,
        "partialResponse": "The part of the reply that was stored, where one was.",
        "userResponse": "With `TURN_IN_PROGRESS`: the message as it is stored; its turn has not begun.",
    },
    send_message.SendErrorBody: {
        "error": "The existing function's sentence, where it has one for the error; else `details.message`.",
        "details": "What the existing contract leaves open.",
    },
    run_requests.RunStartedBody: {
        "runId": _RUN_ID,
        "eventsUrl": "Where an `EventSource` reads the run: relative to the request's URL, with a ticket.",
    },
    run_requests.RunStoppedBody: {
        "runId": _RUN_ID,
        "status": "`stopping`, or `finished` where the run was over already.",
    },
    request_body.MessageBody: {
        "userResponse": _MESSAGE,
        "messageTimestamp": (
            "When the user wrote it: an ISO 8601 date and time, joined by `T`, with a zone, from 1970, as "
            "Python's `datetime.fromisoformat` reads it. The basic and week formats are accepted as well; a "
            "leap second, an ordinal date and a lower-case `z` are not. Fractions are cut to milliseconds. "
            "`null` or absent: when the request arrives."
        ),
        "clientMessageId": (
            "Idempotency key: send the same one when you send the message again. 1 to 64 characters of "
            "`A-Za-z0-9_-`. `null` counts as absent."
        ),
        "userTimezone": _TIME_ZONE,
    },
    request_body.CreateBody: {
        "title": f"{_TITLE} `null`, an empty string or absent: `{DEFAULT_TITLE}`.",
        "initialMessage": (
            f"{_MESSAGE} The coach answers it before the response is sent. `null`, `false`, `0`, an empty "
            "string, array or object, or absent: no message."
        ),
        "userTimezone": _TIME_ZONE,
    },
    request_body.ChangeBody: {
        "title": _TITLE,
        "tags": f"At most {MAX_TAGS} strings of at most {MAX_TAG_CHARS} {_CHARS}, each {_VISIBLE}.",
        "isActive": "A boolean.",
    },
}
"""Meaning by struct and field name on the wire."""
