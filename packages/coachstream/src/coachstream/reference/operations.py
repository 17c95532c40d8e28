"""Every operation: its route, what it takes, and what it responds with.

Paths and methods come from the functions' own tables, statuses from `web.status`; a test compares the codes
with what the served functions respond.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from coachstream.conversation.another_try import MOST_VERSIONS
from coachstream.conversation.errors import ErrorCode
from coachstream.functions.acceptance import METHODS as TURN_METHODS
from coachstream.functions.coach_conversations.handler import METHODS as CONVERSATION_METHODS
from coachstream.web.ag_ui import AgUiBody, AgUiEncoder
from coachstream.web.ai_sdk import AiSdkBody, AiSdkEncoder
from coachstream.web.conversations import (
    BEFORE,
    DEFAULT_PAGE,
    LIMIT,
    LONGEST_PAGE,
    ConversationListBody,
    CountBody,
    DeletedBody,
    ErrorBody,
    OneConversationBody,
    VersionsBody,
)
from coachstream.web.frame_encoder import FrameEncoder
from coachstream.web.frames import ErrorFrame
from coachstream.web.request_body import ChangeBody, CreateBody, MessageBody
from coachstream.web.routes import MAX_ID_CHARS, PATTERNS, Resource
from coachstream.web.run_requests import RunStartedBody, RunStoppedBody
from coachstream.web.send_message import SendErrorBody, SentBody
from coachstream.web.status import HTTP_STATUS
from coachstream.web.user_data import AFTER, UserDataDeletedBody
from coachstream.web.user_data import RESPONSE_HEADERS as EXPORT_HEADERS

METHODS: Mapping[Resource, tuple[str, ...]] = {**TURN_METHODS, **CONVERSATION_METHODS}
"""The methods of each resource, from the functions that serve it."""

PARAMETERS: Mapping[str, tuple[str, str]] = {
    "{user}": ("userId", "The signed-in user, from the claim `custom:user_id` of the ID token."),
    "{coach}": ("coachId", "A coach of the user."),
    "{conversation}": ("conversationId", "A conversation with the coach. `count` is reserved."),
    "{run}": ("runId", "A run of the conversation, named by a `run` or `start` event."),
    "{message}": ("messageId", "A message of the conversation."),
    "{version}": ("replyId", "The reply of an older version of the exchange."),
    "{chat}": ("chatId", "The client's own name for the conversation; ignored."),
}
"""Name and meaning of each placeholder in `web.routes`."""


FOREIGN = frozenset({Resource.AI_SDK, Resource.AI_SDK_STREAM, Resource.AG_UI})
"""The resources of other projects' wire protocols."""


class Function(StrEnum):
    """The Lambda function that serves an operation; each has a Function URL of its own."""

    STREAM = "stream-coach-conversation"
    SEND_MESSAGE = "send-coach-conversation-message"
    CONVERSATIONS = "coach-conversations"


class Stream(msgspec.Struct, frozen=True):
    """A response that is sent in pieces, such as an event stream in a wire protocol.

    Attributes:
        description: what the pieces are.
        headers: the headers of the response.
    """

    description: str
    headers: Mapping[str, str]

    @property
    def media_type(self) -> str:
        """The content type without its parameters."""
        return self.headers["Content-Type"].partition(";")[0]


def _events(data: str, headers: Mapping[str, str]) -> Stream:
    """Server-Sent Events whose `data` is this."""
    return Stream(f"Server-Sent Events; the `data` of each is {data}", headers)


class Success(msgspec.Struct, frozen=True):
    """A response that is no error.

    Attributes:
        status: the HTTP status.
        meaning: one sentence.
        body: the JSON document; None where there is none.
        stream: what is sent in pieces; None where the body is not.
        has_location: whether the header `Location` repeats the address in the body.
    """

    status: int
    meaning: str
    body: type[msgspec.Struct] | None = None
    stream: Stream | None = None
    has_location: bool = False


class QueryParameter(msgspec.Struct, frozen=True):
    """An optional parameter of the query string: its name, its meaning, and its JSON Schema."""

    name: str
    meaning: str
    schema: Mapping[str, object]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one resource.

    Attributes:
        name: `operationId`.
        summary: what it does, in a few words.
        description: what else there is to know, as Markdown; may be empty.
        function: what serves it.
        errors: the codes that come with a status, except `METHOD_NOT_ALLOWED`.
        request: the JSON document that it takes; None where it takes none.
        needs_body: whether a request without a body is refused.
        query: its optional query parameters, besides a cursor.
        takes_cursor: whether the reader says how far it has come.
        takes_ticket: whether a ticket in the URL replaces the token.
    """

    name: str
    resource: Resource
    method: str
    summary: str
    description: str = ""
    function: Function
    successes: tuple[Success, ...]
    errors: frozenset[ErrorCode]
    request: type[msgspec.Struct] | None = None
    needs_body: bool = True
    query: tuple[QueryParameter, ...] = ()
    takes_cursor: bool = False
    takes_ticket: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether the operation belongs to our own wire protocol, or to none."""
        return self.resource not in FOREIGN

    @property
    def path(self) -> str:
        """The path with public parameter names."""
        return path_of(self.resource)

    @property
    def parameters(self) -> tuple[tuple[str, str], ...]:
        """Name and meaning of each parameter of the path, in its order."""
        pattern = dict(PATTERNS)[self.resource]
        return tuple(PARAMETERS[part] for part in pattern if part in PARAMETERS)

    def errors_by_status(self) -> dict[int, list[ErrorCode]]:
        """The codes of each status, in the order of the enum."""
        found: dict[int, list[ErrorCode]] = {}
        for code in ErrorCode:
            if code in self.errors:
                found.setdefault(HTTP_STATUS[code], []).append(code)
        return dict(sorted(found.items()))


def path_of(resource: Resource) -> str:
    """The path of a resource with public parameter names."""
    parts = dict(PATTERNS)[resource]
    return "".join(f"/{{{PARAMETERS[part][0]}}}" if part in PARAMETERS else f"/{part}" for part in parts)


ERROR_BODIES: Mapping[Function, type[msgspec.Struct]] = {
    Function.STREAM: ErrorFrame,
    Function.SEND_MESSAGE: SendErrorBody,
    Function.CONVERSATIONS: ErrorBody,
}
"""The document with which a function reports an error."""

_USER = frozenset(
    {
        ErrorCode.MISSING_AUTH_HEADER,
        ErrorCode.INVALID_TOKEN_FORMAT,
        ErrorCode.INVALID_TOKEN,
        ErrorCode.TOKEN_EXPIRED,
        ErrorCode.MISSING_CUSTOM_USER_ID,
        ErrorCode.USER_ID_MISMATCH,
    }
)
_EVERY = _USER | {
    ErrorCode.MISSING_PATH_PARAMS,
    ErrorCode.STORAGE_UNAVAILABLE,
    ErrorCode.NO_CREDENTIALS,
    ErrorCode.PROCESSING_ERROR,
}
_MESSAGE = frozenset(
    {
        ErrorCode.MISSING_REQUEST_BODY,
        ErrorCode.INVALID_JSON,
        ErrorCode.INVALID_USER_RESPONSE,
        ErrorCode.ATTACHMENT_REJECTED,
        ErrorCode.MESSAGE_TOO_LONG,
        ErrorCode.INVALID_TIMESTAMP,
        ErrorCode.INVALID_CLIENT_MESSAGE_ID,
        ErrorCode.INVALID_TIME_ZONE,
        ErrorCode.INVALID_REQUEST,
    }
)
_OPENING = frozenset(
    {
        ErrorCode.CONVERSATION_NOT_FOUND,
        ErrorCode.TURN_IN_PROGRESS,
        ErrorCode.MESSAGE_WITHDRAWN,
        ErrorCode.IDEMPOTENCY_MISMATCH,
        ErrorCode.NOT_THE_LAST_EXCHANGE,
        ErrorCode.CANNOT_CONTINUE,
        ErrorCode.QUOTA_EXCEEDED,
    }
)
_TURN = _OPENING | {
    ErrorCode.COACH_CONFIG_NOT_FOUND,
    ErrorCode.RUN_NOT_FOUND,
    ErrorCode.TURN_INTERRUPTED,
    ErrorCode.MODEL_THROTTLED,
    ErrorCode.MODEL_UNAVAILABLE,
    ErrorCode.MODEL_STREAM_BROKEN,
    ErrorCode.MODEL_REJECTED,
    ErrorCode.MODEL_NOT_USABLE,
    ErrorCode.CONTENT_FILTERED,
    ErrorCode.DEADLINE_EXCEEDED,
}
_TICKET = frozenset({ErrorCode.INVALID_TICKET, ErrorCode.TICKET_EXPIRED, ErrorCode.TICKETS_UNAVAILABLE})

EVENT_ERRORS = (
    _TURN | _USER | {ErrorCode.STORAGE_UNAVAILABLE, ErrorCode.NO_CREDENTIALS, ErrorCode.PROCESSING_ERROR}
)
"""The codes that an `error` event of a stream with status 200 can have."""

OUR_STREAM = _events("JSON, an `Event`.", FrameEncoder.headers)
_STREAM = Success(200, "The events of the reply; see [events](events.md).", stream=OUR_STREAM)
_AI_SDK = Success(
    200,
    "The reply as a UI message stream; see [Use the AI SDK](../how-to/use-the-ai-sdk.md).",
    stream=_events("a JSON chunk of the AI SDK's UI message stream 1, or `[DONE]`.", AiSdkEncoder.headers),
)
_AG_UI = Success(
    200,
    "The reply as AG-UI events; see [Use AG-UI](../how-to/use-ag-ui.md).",
    stream=_events("JSON, an event of AG-UI.", AgUiEncoder.headers),
)
_FOREIGN_MESSAGE = _MESSAGE - {ErrorCode.INVALID_TIMESTAMP, ErrorCode.INVALID_REQUEST}
_NOTHING_LEFT = Success(204, "There is nothing left to read. It stops an `EventSource`.")

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="startReply",
        resource=Resource.STREAM,
        method="POST",
        summary="Send a message and read the reply",
        description=(
            "Responds with a stream. If the `Accept` header names `application/json` and none of "
            "`text/event-stream`, `text/*` and `*/*`, the message is stored, its run is opened, and the "
            "response says where an `EventSource` can read it. With a cursor, the request is a reconnect: "
            "the stream continues after the cursor, or the status is `204` if the reader has the whole reply."
            " With `regenerate`, `replaces` or `continue` it tries the last exchange again; see "
            "[How a run works](../explanation/runs.md#another-try)."
        ),
        function=Function.STREAM,
        request=MessageBody,
        takes_cursor=True,
        successes=(
            _STREAM,
            Success(202, "The run is opened; its first reader starts it.", RunStartedBody, has_location=True),
            _NOTHING_LEFT,
        ),
        errors=_EVERY
        | _MESSAGE
        | _OPENING
        | {ErrorCode.INVALID_REQUEST, ErrorCode.SERVER_BUSY, ErrorCode.TICKETS_UNAVAILABLE},
    ),
    Operation(
        name="joinReply",
        resource=Resource.STREAM,
        method="GET",
        summary="Join the reply in progress",
        description=(
            "Reads the run that the cursor names or, without one, the conversation's unfinished run. If "
            "there is none, the first queued one begins."
        ),
        function=Function.STREAM,
        takes_cursor=True,
        successes=(_STREAM, _NOTHING_LEFT),
        errors=_EVERY | {ErrorCode.RUN_NOT_FOUND} | _TICKET,
    ),
    Operation(
        name="resumeReply",
        resource=Resource.RUN,
        method="GET",
        summary="Resume a run where the reader left off",
        description=(
            "A `ticket` in the URL, as in `eventsUrl`, replaces the token. It is ignored if the request has "
            "an `Authorization` header."
        ),
        function=Function.STREAM,
        takes_cursor=True,
        takes_ticket=True,
        successes=(_STREAM, _NOTHING_LEFT),
        errors=_EVERY | {ErrorCode.RUN_NOT_FOUND} | _TICKET,
    ),
    Operation(
        name="stopReply",
        resource=Resource.RUN,
        method="DELETE",
        summary="Stop a run, or withdraw a queued one",
        description=(
            "The text so far becomes the reply, with the stop reason `stopped`. The message of a queued run "
            "is deleted, and will not be answered."
        ),
        function=Function.STREAM,
        successes=(
            Success(200, "The run was withdrawn, or had already ended.", RunStoppedBody),
            Success(202, "The run stops within about a second.", RunStoppedBody),
        ),
        errors=_EVERY | {ErrorCode.RUN_NOT_FOUND, ErrorCode.CONVERSATION_NOT_FOUND},
    ),
    Operation(
        name="startReplyForAiSdk",
        resource=Resource.AI_SDK,
        method="POST",
        summary="Send a message with the AI SDK's chat transport",
        description="Runs the same turn as `startReply`. Only the last message is read.",
        function=Function.STREAM,
        request=AiSdkBody,
        successes=(_AI_SDK,),
        errors=_EVERY | _FOREIGN_MESSAGE | {ErrorCode.INVALID_REQUEST, ErrorCode.SERVER_BUSY},
    ),
    Operation(
        name="resumeReplyForAiSdk",
        resource=Resource.AI_SDK_STREAM,
        method="GET",
        summary="Resume the reply in progress with the AI SDK's chat transport",
        description=(
            "Reads the conversation's unfinished run from its beginning. If there is none, the first queued "
            "one begins."
        ),
        function=Function.STREAM,
        successes=(_AI_SDK, Success(204, "No reply is being written.")),
        errors=_EVERY | {ErrorCode.RUN_NOT_FOUND},
    ),
    Operation(
        name="runForAgUi",
        resource=Resource.AG_UI,
        method="POST",
        summary="Send a message with an AG-UI client",
        description=(
            "Runs the same turn as `startReply`. Only the last message of the user is read; the messages "
            "behind it are treated as an earlier attempt to read the reply."
        ),
        function=Function.STREAM,
        request=AgUiBody,
        successes=(_AG_UI,),
        errors=_EVERY | _FOREIGN_MESSAGE | {ErrorCode.SERVER_BUSY},
    ),
    Operation(
        name="sendMessage",
        resource=Resource.SEND_MESSAGE,
        method="POST",
        summary="Send a message and wait for the whole reply",
        description="Runs the same turn as `startReply`, and responds with one JSON document.",
        function=Function.SEND_MESSAGE,
        request=MessageBody,
        successes=(Success(200, "Both messages, as they are stored.", SentBody),),
        errors=_EVERY | _MESSAGE | _TURN | {ErrorCode.INVALID_REQUEST, ErrorCode.SERVER_BUSY},
    ),
    Operation(
        name="listConversations",
        resource=Resource.CONVERSATIONS,
        method="GET",
        summary="List the conversations of a user with a coach",
        function=Function.CONVERSATIONS,
        successes=(Success(200, "All conversations, without their messages.", ConversationListBody),),
        errors=_EVERY,
    ),
    Operation(
        name="createConversation",
        resource=Resource.CONVERSATIONS,
        method="POST",
        summary="Create a conversation",
        description=(
            "With `initialMessage`, the coach replies before the response is sent. If that turn fails, the "
            "conversation is created anyway."
        ),
        function=Function.CONVERSATIONS,
        request=CreateBody,
        needs_body=False,
        successes=(Success(201, "The new conversation, without messages.", OneConversationBody),),
        errors=_EVERY
        | {
            ErrorCode.INVALID_JSON,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.INVALID_USER_RESPONSE,
            ErrorCode.ATTACHMENT_REJECTED,
            ErrorCode.MESSAGE_TOO_LONG,
            ErrorCode.INVALID_TIME_ZONE,
            ErrorCode.COACH_CONFIG_NOT_FOUND,
        },
    ),
    Operation(
        name="countConversations",
        resource=Resource.COUNT,
        method="GET",
        summary="Count conversations and messages",
        function=Function.CONVERSATIONS,
        successes=(Success(200, "The counts.", CountBody),),
        errors=_EVERY,
    ),
    Operation(
        name="getConversation",
        resource=Resource.CONVERSATION,
        method="GET",
        summary="Get a conversation with its messages",
        description=(
            "First closes a run of the conversation that died more than ten minutes ago. With a query "
            "parameter, it responds with the newest messages only, oldest first, and with `hasMore`: "
            "whether there are earlier ones."
        ),
        function=Function.CONVERSATIONS,
        query=(
            QueryParameter(
                LIMIT,
                f"The largest number of messages; {DEFAULT_PAGE} if only `{BEFORE}` is given.",
                {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE},
            ),
            QueryParameter(
                BEFORE,
                "The id of a message: only those that come before it.",
                {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, "pattern": "^[^#]+$"},
            ),
        ),
        successes=(Success(200, "The conversation.", OneConversationBody),),
        errors=_EVERY | {ErrorCode.CONVERSATION_NOT_FOUND, ErrorCode.INVALID_REQUEST},
    ),
    Operation(
        name="changeConversation",
        resource=Resource.CONVERSATION,
        method="PUT",
        summary="Rename a conversation, or change its tags or state",
        function=Function.CONVERSATIONS,
        request=ChangeBody,
        successes=(Success(200, "The conversation, without its messages.", OneConversationBody),),
        errors=_EVERY
        | {
            ErrorCode.MISSING_REQUEST_BODY,
            ErrorCode.INVALID_JSON,
            ErrorCode.INVALID_REQUEST,
            ErrorCode.CONVERSATION_NOT_FOUND,
        },
    ),
    Operation(
        name="deleteConversation",
        resource=Resource.CONVERSATION,
        method="DELETE",
        summary="Delete a conversation with its messages and runs",
        description=(
            "First ends its unfinished run. Also deletes its summary, in the table and in the semantic "
            "memory. A deletion that was cut off can be repeated."
        ),
        function=Function.CONVERSATIONS,
        successes=(Success(200, "The conversation is deleted.", DeletedBody),),
        errors=_EVERY | {ErrorCode.CONVERSATION_NOT_FOUND},
    ),
    Operation(
        name="listVersions",
        resource=Resource.VERSIONS,
        method="GET",
        summary="List the versions of an exchange",
        description=(
            "`messageId` is the user message or the reply, as the conversation has it. Oldest first; at most "
            f"{MOST_VERSIONS} are kept. Empty if the conversation has no such message."
        ),
        function=Function.CONVERSATIONS,
        successes=(Success(200, "The versions.", VersionsBody),),
        errors=_EVERY | {ErrorCode.CONVERSATION_NOT_FOUND},
    ),
    Operation(
        name="chooseVersion",
        resource=Resource.VERSION,
        method="PUT",
        summary="Choose an older version of the last exchange",
        description=(
            "`messageId` is the reply that the conversation has now. From now on it has the other version, "
            "with the user message of that version; this one is kept."
        ),
        function=Function.CONVERSATIONS,
        successes=(Success(200, "The versions, with the new choice.", VersionsBody),),
        errors=_EVERY
        | {
            ErrorCode.CONVERSATION_NOT_FOUND,
            ErrorCode.NOT_THE_LAST_EXCHANGE,
            ErrorCode.TURN_IN_PROGRESS,
        },
    ),
    Operation(
        name="exportUserData",
        resource=Resource.EXPORT,
        method="GET",
        summary="Export all of a user's data",
        description=(
            "Responds with JSON lines: [RecordLine](#recordline), [PageLine](#pageline), and as the last one "
            "[CompleteLine](#completeline), [ReconnectLine](#reconnectline) or [ErrorLine](#errorline). "
            "A response without one of these at its end was cut off. See [Export and delete a user's "
            "data](../how-to/export-and-delete-a-users-data.md)."
        ),
        function=Function.CONVERSATIONS,
        query=(
            QueryParameter(
                AFTER,
                "`next` of the last `page` line, or `after` of a `reconnect` line, to resume.",
                {"type": "string", "minLength": 1},
            ),
        ),
        successes=(
            Success(
                200,
                "The records as they are stored, of every function of the system.",
                stream=Stream("JSON lines, each an `ExportLine`.", EXPORT_HEADERS),
            ),
        ),
        errors=_EVERY | {ErrorCode.INVALID_REQUEST, ErrorCode.DEADLINE_EXCEEDED},
    ),
    Operation(
        name="deleteUserData",
        resource=Resource.USER_DATA,
        method="DELETE",
        summary="Delete a user's conversations, memories and vectors",
        description=(
            "Ends replies that are being written. Repeat the request until `isComplete` is true; what is "
            "deleted stays deleted. Coaches, workouts and the profile belong to other functions, and stay."
        ),
        function=Function.CONVERSATIONS,
        successes=(Success(200, "What was deleted, and what is left.", UserDataDeletedBody),),
        errors=_EVERY,
    ),
)
"""All operations, those of a reply first."""
