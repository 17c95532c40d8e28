"""An HTTP client of the service, for the terminal chat."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from coachstream.conversation.model import StopReason
from coachstream.local.app import SESSION_PATH
from coachstream.local.session import Session, SessionCoach
from coachstream.web.sse import SseReader

# A stream sends a keep-alive comment after 15 seconds of silence; twice that means that it is dead.
_TIMEOUT = httpx.Timeout(10, read=30)

_MOST_BREAKS = 3


class ChatFailure(Exception):
    """A failure, as a sentence for the user.

    Attributes:
        sentence: the problem and the remedy.
        retryable: whether sending the same message again may help.
    """

    def __init__(self, sentence: str, *, retryable: bool = True) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.retryable = retryable


class StoredMessage(msgspec.Struct, frozen=True):
    """A message of a conversation, with the fields shown in the terminal."""

    role: str
    content: str
    timestamp: str


class ConversationMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """A conversation's metadata."""

    last_activity: str
    total_messages: int


class StoredConversation(msgspec.Struct, frozen=True, rename="camel"):
    """A conversation; `messages` is empty in a list."""

    conversation_id: str
    title: str
    metadata: ConversationMetadata
    messages: tuple[StoredMessage, ...] = ()


class _One(msgspec.Struct):
    conversation: StoredConversation


class _Many(msgspec.Struct):
    conversations: tuple[StoredConversation, ...]


class _Stopped(msgspec.Struct):
    status: str


class ReceivedEvent(msgspec.Struct, frozen=True):
    """One event of a stream, and the id to resume after."""

    event: dict[str, object]
    last_event_id: str


class _Problem(msgspec.Struct):
    error: str


class _NamedProblem(_Problem):
    code: str


_ResponseBody = TypeVar("_ResponseBody", _One, _Many, _Stopped)


class CoachClient:
    """One signed-in user of a running `coachstream serve`. Close it, or use it as a context manager."""

    def __init__(self, url: str, *, token: str | None = None) -> None:
        """Create a client, without sending anything yet.

        Args:
            url: the server's address.
            token: an ID token, for a server that does not issue tokens.
        """
        self._token = token
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False)
        self._session: Session | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    @property
    def session(self) -> Session:
        """The session, opened at first use.

        Raises:
            ChatFailure: the server cannot be reached, or is not `coachstream serve`.
        """
        if self._session is None:
            self._session = self._open_session()
        return self._session

    def find_coach(self, name: str) -> SessionCoach:
        """Return the coach with this id, name or beginning of a name, case-insensitively.

        Raises:
            ChatFailure: there is no such coach.
        """
        wanted = name.casefold()
        coaches = self.session.coaches
        for coach in coaches:
            if wanted in {coach.coach_id.casefold(), coach.name.casefold()}:
                return coach
        for coach in coaches:
            if any(part.casefold().startswith(wanted) for part in coach.name.split()):
                return coach
        names = " and ".join(coach.name for coach in coaches)
        raise ChatFailure(f"There is no coach called {name!r}. Your coaches are {names}.", retryable=False)

    def conversations(self, coach_id: str) -> tuple[StoredConversation, ...]:
        """Return all conversations with a coach, the latest first, without their messages."""
        return self._call("GET", self._path(coach_id), _Many).conversations

    def conversation(self, coach_id: str, conversation_id: str) -> StoredConversation:
        """Return one conversation with its messages."""
        return self._call("GET", self._path(coach_id, conversation_id), _One).conversation

    def create_conversation(self, coach_id: str, title: str | None) -> StoredConversation:
        """Start a conversation."""
        body = {} if title is None else {"title": title}
        return self._call("POST", self._path(coach_id), _One, body).conversation

    def ask(
        self,
        coach_id: str,
        conversation_id: str,
        text: str,
        *,
        client_message_id: str | None = None,
        on_queued: Callable[[int], None] | None = None,
    ) -> Reply:
        """Return the reply to a message; the message is sent when the reply is read.

        `on_queued` is called with the message's position while others are answered before it.
        """
        body = {"userResponse": text, "clientMessageId": client_message_id or new_message_id()}
        path = self._path(coach_id, conversation_id) + "/stream"
        return Reply(self, path, body, on_queued=on_queued)

    def stream_once(self, path: str, body: object, *, after: str = "") -> Iterator[ReceivedEvent]:
        """Post to the streaming function and yield its events until the connection ends.

        Args:
            path: the path of the conversation's stream.
            body: the message.
            after: the id of the last event of an earlier connection.

        Raises:
            ChatFailure: the request was refused.
            httpx.TransportError: the connection was lost.
        """
        url = self.session.stream_url + path
        with self._send("POST", url, body, "text/event-stream", after=after) as response:
            yield from _events(response)

    def stop_run(self, path: str, run_id: str) -> None:
        """Stop a run of the stream at `path`; its text so far becomes the reply.

        Raises:
            ChatFailure: it cannot be stopped.
        """
        self._call("DELETE", f"{path}/{quote(run_id, safe='')}", _Stopped, base=self.session.stream_url)

    def _open_session(self) -> Session:
        url = str(self._http.base_url)
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        try:
            response = self._http.get(SESSION_PATH, headers=headers)
            if not response.is_success:
                raise _no_session(response)
            return msgspec.json.decode(response.content, type=Session)
        except httpx.TransportError as error:
            raise ChatFailure(f"There is no server at {url}. Is `coachstream serve` running?") from error
        except (msgspec.MsgspecError, ValueError) as error:
            raise ChatFailure(f"The server at {url} is not `coachstream serve`.", retryable=False) from error

    def _path(self, coach_id: str, conversation_id: str | None = None) -> str:
        parts = ["users", self.session.user_id, "coaches", coach_id, "conversations"]
        if conversation_id is not None:
            parts.append(conversation_id)
        return "/".join(quote(part, safe="") for part in parts)

    def _call(
        self,
        method: str,
        path: str,
        body_type: type[_ResponseBody],
        body: object = None,
        *,
        base: str | None = None,
    ) -> _ResponseBody:
        url = (base or self.session.conversations_url) + path
        try:
            with self._send(method, url, body, "application/json") as response:
                content = response.read()
        except httpx.TransportError as error:
            raise ChatFailure("The server cannot be reached. Is it still running?") from error
        if not response.is_success:
            raise _failure_of(content)
        return msgspec.json.decode(content, type=body_type)

    @contextmanager
    def _send(
        self, method: str, url: str, body: object, accept: str, *, after: str = ""
    ) -> Iterator[httpx.Response]:
        """Send a request with the session's token; if the token is rejected, retry once with a new one."""
        # In ASCII, because terminal input may contain a lone surrogate, which UTF-8 cannot encode.
        content = None if body is None else json.dumps(body).encode("ascii")
        for is_last_attempt in (False, True):
            headers = {"Authorization": f"Bearer {self.session.token}", "Accept": accept}
            if content is not None:
                headers["Content-Type"] = "application/json"
            if after:
                headers["Last-Event-ID"] = after
            with self._http.stream(method, url, headers=headers, content=content) as response:
                if response.status_code != httpx.codes.UNAUTHORIZED or is_last_attempt:
                    yield response
                    return
            self._session = None


class Reply:
    """A streamed reply, over as many connections as needed; it is stored once it has been read to its end.

    A lost connection is reopened: sending the same message again joins its run. If the reply is started
    again, so is the iteration, after a blank line.

    Attributes:
        is_stopped: whether it ended because it was stopped.
        notices: what the service said it had done besides the reply.
    """

    def __init__(
        self,
        client: CoachClient,
        path: str,
        body: object,
        *,
        on_queued: Callable[[int], None] | None = None,
    ) -> None:
        self._on_queued = on_queued
        self._client = client
        self._path = path
        self._body = body
        self._run_id = ""
        self._last_event_id = ""
        self._run_is_known = threading.Event()
        self._is_complete = False
        self._must_reconnect = False
        self._yielded = 0  # UTF-16 code units, over all connections
        self.is_stopped = False
        self.notices: list[str] = []

    def __iter__(self) -> Iterator[str]:
        """Send the message, and yield the chunks of the reply.

        Raises:
            ChatFailure: an `error` event arrived, or the connection was lost too often.
        """
        try:
            yield from self._read()
        finally:
            self._run_is_known.set()  # or never will be: release `_stop`

    def stop(self) -> None:
        """Stop the reply as soon as its run is known; returns at once, and the iteration ends soon after.

        May be called from a signal handler.
        """
        threading.Thread(target=self._stop, daemon=True).start()

    def _read(self) -> Iterator[str]:
        breaks = 0
        while True:
            self._must_reconnect = False
            try:
                for received in self._client.stream_once(self._path, self._body, after=self._last_event_id):
                    self._note_run(received.last_event_id)
                    yield from self._take(received.event)
            except httpx.TransportError as error:
                if breaks == _MOST_BREAKS:
                    raise ChatFailure("The connection to the server was lost.") from error
            if self._is_complete:
                return
            if not self._must_reconnect:
                if breaks == _MOST_BREAKS:
                    raise ChatFailure("The reply ended before it was complete.")
                breaks += 1

    def _stop(self) -> None:
        self._run_is_known.wait()
        if self._run_id:
            # A reply that cannot be stopped is read to its end.
            with suppress(ChatFailure):
                self._client.stop_run(self._path, self._run_id)

    def _note_run(self, event_id: str) -> None:
        if event_id:
            self._last_event_id = event_id
            self._run_id = event_id.rpartition(":")[0]
            self._run_is_known.set()

    def _take(self, event: dict[str, object]) -> Iterator[str]:
        """Yield the new text of an event; raises `ChatFailure` for an error."""
        match event:
            case {"type": "chunk", "content": str(content), "offset": int(offset)}:
                new = content.encode("utf-16-le", "surrogatepass")[2 * max(0, self._yielded - offset) :]
                if new:
                    self._yielded += len(new) // 2
                    yield new.decode("utf-16-le", "replace")
            case {"type": "reset", "offset": int(offset)} if offset < self._yielded:
                self._yielded = offset
                yield "\n\n"
            case {"type": "queued", "position": int(position)} if self._on_queued is not None:
                self._on_queued(position)
            case {"type": "contextual", "content": str(content)}:
                self.notices.append(content)
            case {"type": "guardrail_warning", "message": str(message)}:
                self.notices.append(message)
            case {"type": "error", "message": message}:
                raise ChatFailure(str(message), retryable=event.get("retryable") is not False)
            case {"type": "reconnect"}:
                self._must_reconnect = True
            case {"type": "complete"}:
                self._is_complete = True
                self.is_stopped = event.get("stopReason") == StopReason.STOPPED


def _no_session(response: httpx.Response) -> ChatFailure:
    """Return the server's error. Raises `msgspec.MsgspecError` if the response is not from our server."""
    problem = msgspec.json.decode(response.content, type=_NamedProblem)
    hint = " An ID token of the user pool is needed: --token TOKEN." if response.status_code == 401 else ""  # noqa: PLR2004
    return ChatFailure(problem.error + hint, retryable=False)


def new_message_id() -> str:
    """Return a new `clientMessageId`, the idempotency key of a message."""
    return uuid.uuid4().hex


def _events(response: httpx.Response) -> Iterator[ReceivedEvent]:
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        raise _failure_of(response.read())
    reader = SseReader()
    for chunk in response.iter_bytes():
        for data in reader.feed(chunk):
            # The standard library's decoder, because it accepts lone surrogates, which msgspec does not.
            event = json.loads(data)
            if isinstance(event, dict):
                yield ReceivedEvent(event, reader.last_event_id)


def _failure_of(body: bytes) -> ChatFailure:
    try:
        return ChatFailure(msgspec.json.decode(body, type=_Problem).error)
    except (msgspec.MsgspecError, ValueError):
        return ChatFailure("The server's response could not be read. Please try again.")
