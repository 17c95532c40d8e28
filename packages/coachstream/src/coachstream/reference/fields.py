"""One sentence for each field on the wire."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.web import (
    ag_ui,
    ai_sdk,
    conversations,
    frames,
    quotas,
    request_body,
    run_requests,
    send_message,
    user_data,
)
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
_SEMANTIC = "What the prompt received from the semantic search."
_SENTENCE = "A sentence for the user."
_CODE = "What went wrong; see [errors](errors.md)."
_RETRYABLE = "Whether the same request may succeed later, unchanged."
_QUOTA = "With `QUOTA_EXCEEDED`: the quota that is used up."
_RETRY_AFTER = "With `QUOTA_EXCEEDED`: in how many seconds to try again."
_TIME_ZONE = (
    "The user's time zone, for dates: the name from `Intl.DateTimeFormat().resolvedOptions().timeZone`. If "
    "it is absent, `null`, empty, or not in the service's database, the zone in the user's profile applies, "
    "or else `COACHSTREAM_TIME_ZONE`."
)
_MESSAGE = f"What the user wrote: a string of at most {MAX_MESSAGE_CHARS:,} {_CHARS} {_VISIBLE}."
_TITLE = f"A string of at most {MAX_TITLE_CHARS} {_CHARS} {_VISIBLE}."

FIELDS: Mapping[type[msgspec.Struct], Mapping[str, str]] = {
    frames.MessageMetadataFrame: {
        "model": "Display name of the model that wrote the reply.",
        "stopReason": "Why the reply ended; `interrupted` marks a partial reply.",
        "clientMessageId": "The idempotency key that the client sent with the message.",
        "replyTo": "The id of the user message that the reply answers.",
        "guardrailWarning": "`true` for a reply that a guardrail flagged and kept; absent otherwise.",
        "versions": (
            "How many versions of its exchange are kept, counting this one; absent if there is no other."
        ),
    },
    frames.MessageFrame: {
        "id": "Sorts by time within the conversation, as a string.",
        "role": "Who wrote it.",
        "content": "The text.",
        "timestamp": "When it was written, in UTC with milliseconds.",
        "metadata": "Absent if there is none.",
    },
    frames.PineconeContextFrame: {
        "used": "Whether the prompt contained a match.",
        "matches": "How many matches the prompt contained.",
        "contextLength": "Their total length in characters.",
    },
    frames.UsageFrame: {
        "inputTokens": "Input tokens, as reported by the model's service.",
        "outputTokens": "Output tokens, as reported by the model's service.",
        "cacheReadTokens": "Tokens that were read from the model's prompt cache.",
        "cacheWriteTokens": "Tokens that were written to the model's prompt cache.",
    },
    frames.TimingsFrame: {
        "contextMs": "Until the prompt's context was loaded.",
        "firstChunkMs": "Until the first chunk; `null` if unknown.",
        "totalMs": "Until the turn ended.",
        "modelLatencyMs": "Latency as reported by the model's service; 0 if it reports none.",
    },
    frames.StartFrame: {
        "status": "Always `initialized`.",
        "runId": "The run being read; only over `GET`, where it is known from the start.",
    },
    frames.QueuedFrame: {
        "runId": "The run that will write the reply.",
        "position": "Its place in the queue: `1` is the next one that begins.",
    },
    frames.RunFrame: {"runId": "The run that writes the reply."},
    frames.ChunkFrame: {
        "content": "The text; never cut inside a code point.",
        "offset": "Position of the text in the reply, in UTF-16 code units.",
    },
    frames.ContextualFrame: {
        "content": "A sentence for the user, in the language of the message if the service has it.",
        "stage": "`memory_saved`, `memory_not_saved`, `memory_withdrawn`, `workout_handed_off` or "
        "`workout_not_handed_off`; others may follow.",
    },
    frames.GuardrailWarningFrame: {"message": "A sentence for the user, in English."},
    frames.ResetFrame: {"offset": "Position from which the text is withdrawn, in UTF-16 code units."},
    frames.ReconnectFrame: {"after": "The cursor to resume from: send it as `?after=` or `Last-Event-ID`."},
    frames.CompleteFrame: {
        "messageId": "The id of the reply.",
        "status": "Always `finished`.",
        "userMessage": _USER_MESSAGE,
        "aiMessage": _REPLY,
        "conversationId": _CONVERSATION_ID,
        "pineconeContext": _SEMANTIC,
        "stopReason": "The model's own reason, `stopped` if the user stopped the reply, or "
        "`guardrail_warning` if a guardrail flagged it.",
        "usage": "What the model call consumed; zeros if no longer known.",
        "timings": "Duration of the turn's steps, in milliseconds from its beginning.",
        "quotas": "What was left of each of the user's quotas when the reply ended, if the user has any.",
        "replaced": (
            "After another try: the ids of the messages that are no longer in the conversation. Absent "
            "otherwise."
        ),
    },
    quotas.QuotaFrame: {
        "quota": "`concurrent-runs`, `turns-per-minute` or `tokens-per-day`; others may follow.",
        "limit": "The user's limit.",
        "remaining": "What is left of it.",
        "resetsIn": "In how many seconds all of it is back; absent for `concurrent-runs`.",
    },
    frames.ErrorFrame: {
        "message": _SENTENCE,
        "code": _CODE,
        "retryable": _RETRYABLE,
        "partialMessage": "The part of the reply that was stored, if any.",
        "runId": "With `TURN_IN_PROGRESS`: the unfinished run, to read or stop.",
        "userMessage": "With `TURN_IN_PROGRESS`: the message as it is stored; its turn has not begun.",
        "quota": _QUOTA,
        "retryAfter": _RETRY_AFTER,
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
        "metadata": "Everything about the conversation except its messages.",
        "messages": "Oldest first. Absent in a list and after a change, empty after creation.",
    },
    conversations.OneConversationBody: {
        "success": _SUCCESS,
        "conversation": "The conversation.",
        "hasMore": "Whether there are earlier messages; only if the request asked for a page.",
        "queued": "The messages that wait for their reply, in the order of their turns; absent if none does.",
    },
    conversations.QueuedRunBody: {
        "runId": "The run that will write the reply, to read or withdraw.",
        "messageId": "The id of the user's message, which is stored.",
        "position": "Its place in the queue: `1` is the next one that begins.",
    },
    conversations.ConversationListBody: {
        "success": _SUCCESS,
        "conversations": "All conversations of the user with the coach, most recently active first.",
        "count": "How many there are.",
    },
    conversations.CountBody: {
        "success": _SUCCESS,
        "totalCount": "How many conversations the user has with the coach.",
        "totalMessages": "How many messages they have in total.",
    },
    conversations.DeletedBody: {
        "success": _SUCCESS,
        "message": "`Conversation deleted successfully`.",
        "conversationId": _CONVERSATION_ID,
        "coachId": _COACH_ID,
        "userId": _USER_ID,
        "pineconeCleanup": "Whether the conversation's summaries were removed from the semantic memory.",
    },
    user_data.RecordLine: {
        "kind": "What it is; see [stored items](stored-items.md#keys).",
        "id": "Names the record among those of the user.",
        "data": "Its content as it is stored. Bytes are base64, sets are arrays.",
    },
    user_data.PageLine: {"next": "The cursor behind the page."},
    user_data.CompleteLine: {
        "records": "How many records the export has, those before `?after=` included.",
    },
    user_data.ReconnectLine: {"after": "The cursor behind the last page."},
    user_data.ErrorLine: {"message": _SENTENCE, "code": _CODE, "retryable": _RETRYABLE},
    user_data.DeletedCounts: {
        "conversations": "Conversations, with their messages and runs.",
        "memories": "Memories.",
        "remnants": "Records of conversations that did not exist any more.",
    },
    user_data.UserDataDeletedBody: {
        "success": _SUCCESS,
        "isComplete": (
            "Whether everything is deleted that existed when the request began. `false` if time ran out, or "
            "the vectors could not be deleted: repeat the request."
        ),
        "deleted": "What this request has deleted.",
        "semanticMemory": (
            "Whether the vectors are deleted; `null` if there is no semantic memory, or time ran out before."
        ),
        "left": "How many records are left by kind; `null` if time ran out before they were counted.",
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
        "partialResponse": "The part of the reply that was stored, if any.",
        "userResponse": "With `TURN_IN_PROGRESS`: the message as it is stored; its turn has not begun.",
        "quota": _QUOTA,
        "retryAfter": _RETRY_AFTER,
    },
    send_message.SendErrorBody: {
        "error": "The existing function's sentence for the error, if any; otherwise `details.message`.",
        "details": "Details in addition to the existing function's contract.",
    },
    conversations.VersionsBody: {
        "success": _SUCCESS,
        "versions": "All versions, oldest first.",
    },
    conversations.VersionBody: {
        "userMessage": "The user message of the version.",
        "aiMessage": "The reply; absent for a message that was edited before it had one.",
        "isChosen": "Whether the conversation has this version.",
    },
    run_requests.RunStartedBody: {
        "runId": _RUN_ID,
        "eventsUrl": "Where an `EventSource` reads the run: relative to the request's URL, with a ticket.",
    },
    run_requests.RunStoppedBody: {
        "runId": _RUN_ID,
        "status": (
            "`stopping`; `withdrawn` if the run was queued: its message is deleted; or `finished` if the run "
            "had already ended."
        ),
    },
    request_body.MessageBody: {
        "userResponse": f"{_MESSAGE} Required, except with `regenerate` and `continue`.",
        "messageTimestamp": (
            "When the user wrote it: an ISO 8601 date and time, joined by `T`, with a zone, from 1970, as "
            "Python's `datetime.fromisoformat` reads it. The basic and week formats are accepted as well; a "
            "leap second, an ordinal date and a lower-case `z` are not. Fractions are cut to milliseconds. "
            "`null` or absent: when the request arrives."
        ),
        "clientMessageId": (
            "Idempotency key: send the same one when you send the message again. 1 to 64 characters of "
            "`A-Za-z0-9_-`. `null` counts as absent. Required for another try, whose key it is."
        ),
        "userTimezone": _TIME_ZONE,
        "policy": (
            "What happens if another reply is being written. `enqueue`: the message is stored, and answered "
            "afterwards. `reject`: it is stored and refused with `TURN_IN_PROGRESS`. `interrupt`: that reply "
            "is stopped; messages that are queued already are answered before this one. `null` or absent: "
            "`COACHSTREAM_TURN_POLICY`, but for `send-message`, `reject` instead of `enqueue`. "
            "Not with another try, which is refused with `TURN_IN_PROGRESS`."
        ),
        "regenerate": (
            "The id of the last reply, or the `clientMessageId` of its message: write another reply. There "
            "is no `userResponse`."
        ),
        "replaces": (
            "The id or `clientMessageId` of the last user message: `userResponse` replaces it, and gets a "
            "reply."
        ),
        "continue": (
            "The id of the last reply, if it was stopped, interrupted or cut off at its maximum length: go "
            "on where it ends. There is no `userResponse`."
        ),
    },
    ai_sdk.AiSdkBody: {
        "messages": (
            "The last one must be the user's, and its `parts` texts: that is the message. Its `id` is the "
            "idempotency key, or a hash of it if it is not one. The others are ignored: the service has them."
        ),
        "trigger": "`regenerate-message` asks for another reply to the last message.",
        "messageId": (
            "The id of the last message, if it is sent again. If its text has changed, it replaces the one "
            "that was sent, which must be the last one of the conversation."
        ),
        "userTimezone": _TIME_ZONE,
    },
    ag_ui.AgUiBody: {
        "threadId": "The client's own name for the conversation; it comes back in the events.",
        "runId": "The client's own name for this request; it comes back in the events.",
        "messages": (
            "The last one of the user is the message: a string, or text parts. Its `id` is the idempotency "
            "key, or a hash of it if it is not one."
        ),
        "protocolVersion": (
            "The protocol's version. Clients before 1.0 send none, and get the outcome `success` where "
            "others get `cancelled`, which they do not know."
        ),
        "context": "Refused with `ATTACHMENT_REJECTED`, unless it is empty.",
        "resume": "Refused with `ATTACHMENT_REJECTED`, unless it is empty: no run is ever interrupted.",
        "forwardedProps": "`userTimezone` in it is the user's time zone; the rest is ignored.",
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
