from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from coachstream.conversation.text import utf16_length
from coachstream.local.chat import Chat
from coachstream.local.client import ChatFailure, CoachClient
from support.serving import serving
from support.uvicorn_server import served

CONVERSATION = {
    "conversationId": "conv1",
    "title": "Legs",
    "metadata": {"lastActivity": "2026-01-01T10:00:00.000Z", "totalMessages": 2},
}
MESSAGES = [
    {"id": "m1", "role": "user", "content": "Hi", "timestamp": "2026-01-01T10:00:00.000Z"},
    {
        "id": "m2",
        "role": "assistant",
        "content": "Hello \x1b[31mSam",
        "timestamp": "2026-01-01T10:00:05.000Z",
    },
]


def frame(**event: object) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


class ScriptedService:
    """The service's API over HTTP; a test scripts the next streams."""

    def __init__(self) -> None:
        self.streams: list[list[bytes]] = []
        self.asked: list[dict[str, Any]] = []
        self.cursors: list[str] = []
        self.tokens: list[str] = ["first", "second"]
        self.refused_tokens: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        headers = {name: value.decode() for name, value in scope["headers"]}
        body = (await receive()).get("body", b"")
        if path == "/local/session":
            response = JSONResponse(self._session(headers[b"host"]))
        elif headers[b"authorization"].removeprefix("Bearer ") in self.refused_tokens:
            response = JSONResponse({"error": "Please sign in again.", "code": "TOKEN_EXPIRED"}, 401)
        elif path.endswith("/stream"):
            self.asked.append(json.loads(body))
            self.cursors.append(headers.get(b"last-event-id", ""))
            await self._stream(send, self.streams.pop(0))
            return
        elif path.endswith("/conversations"):
            one = {"success": True, "conversation": {**CONVERSATION, "messages": []}}
            many = {"success": True, "conversations": [CONVERSATION], "count": 1}
            response = JSONResponse(one, 201) if method == "POST" else JSONResponse(many)
        elif path.endswith("/conv1"):
            response = JSONResponse({"conversation": {**CONVERSATION, "messages": MESSAGES}})
        else:
            response = JSONResponse({"error": "This conversation does not exist any more.", "code": "X"}, 404)
        await response(scope, receive, send)

    def _session(self, host: str) -> dict[str, object]:
        token = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        coaches = [
            {"coachId": "c1", "name": "Mara Lindqvist", "description": "calm"},
            {"coachId": "c2", "name": "Rico Valdés", "description": "loud"},
        ]
        return {
            "token": token,
            "expiresAt": "2026-01-01T00:00:00.000Z",
            "userId": "u1",
            "userName": "Sam",
            "coaches": coaches,
            "coachId": "c1",
            "conversationId": "conv1",
            "streamUrl": f"http://{host}/",
            "conversationsUrl": f"http://{host}/",
        }

    async def _stream(self, send: Send, chunks: list[bytes]) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if chunks[-1] != b"":
            await send({"type": "http.response.body", "body": b""})


FIRST, SECOND = (
    frame(type="chunk", content="Squat ", offset=0),
    frame(type="chunk", content="slowly ✓", offset=6),
)
REPLY = [
    frame(type="start", status="initialized"),
    b": keep-alive\n\n",
    FIRST[:9],
    FIRST[9:] + SECOND,
    frame(type="complete", messageId="m"),
]


@pytest.fixture
def service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture
def client(service: ScriptedService) -> Iterator[CoachClient]:
    with served(service) as url, CoachClient(url) as client:
        yield client


def talk(client: CoachClient, *lines: str) -> str:
    """Type the lines, then Ctrl-D; return what the terminal showed."""
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    typed = iter(lines)

    def read_line(_prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    Chat(client, console, client.session.coaches[0]).run(read_line)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_the_words_of_a_reply_are_printed_and_the_message_has_an_id(
    service: ScriptedService, client: CoachClient
) -> None:
    """Chunks are joined to one text; comments and split bytes are invisible."""
    service.streams = [REPLY]
    shown = talk(client, "How do I squat?")
    assert "Squat slowly ✓\n" in shown
    assert shown.endswith("See you next time.\n")
    [asked] = service.asked
    assert asked["userResponse"] == "How do I squat?"
    assert len(asked["clientMessageId"]) == 32


def test_terminal_input_that_is_not_valid_unicode_is_still_sent(
    service: ScriptedService, client: CoachClient
) -> None:
    """Undecodable bytes arrive as lone surrogates, which the service replaces."""
    service.streams = [REPLY]
    assert "Squat slowly ✓\n" in talk(client, "I ran 5 km \udcf0 \ud83d")
    assert service.asked[0]["userResponse"] == "I ran 5 km \udcf0 \ud83d"


def test_a_failed_reply_is_a_sentence_and_retry_sends_the_same_message(
    service: ScriptedService, client: CoachClient
) -> None:
    """The retry has the same idempotency key, so the message is stored once."""
    error = frame(type="error", message="Your coach is very busy.", code="MODEL_THROTTLED", retryable=True)
    service.streams = [[frame(type="start"), error], REPLY]
    shown = talk(client, "Hi coach", "/retry", "/retry")
    assert "Your coach is very busy.\n/retry sends your message again." in shown
    assert "Squat slowly" in shown
    assert "There is nothing to send again." in shown
    assert service.asked[0] == service.asked[1]


@pytest.mark.parametrize("ending", [[b""], []])
def test_a_stream_without_its_last_event_is_reported_as_incomplete(
    service: ScriptedService, client: CoachClient, ending: list[bytes]
) -> None:
    """Even if it breaks off at every attempt, it is never taken for a complete reply."""
    service.streams = [[frame(type="start"), frame(type="chunk", content="Squ", offset=0), *ending]] * 9
    pieces = iter(client.ask("c1", "conv1", "Hi"))
    assert next(pieces) == "Squ"
    with pytest.raises(ChatFailure, match=r"was lost|before it was complete"):
        next(pieces)
    assert len(service.asked) == 4


def test_a_stream_that_breaks_off_is_resumed(service: ScriptedService, client: CoachClient) -> None:
    """The repeated message joins its run after the last id, so no text is shown twice."""
    with_id = frame(type="chunk", content="Squ💪a", offset=0).removesuffix(b"\n") + b"id: run_1:3\n\n"
    service.streams = [
        [frame(type="start"), with_id, b""],
        [
            frame(type="start"),
            frame(type="chunk", content="Squ💪at ", offset=0),
            frame(type="reconnect", after="r:2"),
        ],
        REPLY,
    ]
    assert "".join(client.ask("c1", "conv1", "Hi")) == "Squ💪at owly ✓"
    assert len({asked["clientMessageId"] for asked in service.asked}) == 1
    assert service.cursors == ["", "run_1:3", "run_1:3"]


def test_a_reply_that_starts_over_is_shown_again(service: ScriptedService, client: CoachClient) -> None:
    """A terminal cannot erase text that it has printed."""
    service.streams = [
        [
            frame(type="chunk", content="Half", offset=0),
            frame(type="reset", offset=0),
            frame(type="chunk", content="All of it", offset=0),
            frame(type="complete", messageId="m"),
        ]
    ]
    assert "".join(client.ask("c1", "conv1", "Hi")) == "Half\n\nAll of it"


def test_a_token_that_is_refused_is_replaced_once(service: ScriptedService, client: CoachClient) -> None:
    """A chat may outlive its token; a repeated refusal is reported."""
    assert client.session.token == "first"
    service.refused_tokens = {"first"}
    assert client.conversations("c1")[0].title == "Legs"
    service.refused_tokens = {"first", "second"}
    with pytest.raises(ChatFailure, match=r"Please sign in again\."):
        client.conversations("c1")


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("/help", "/history "),
        ("/history", "Hello [31mSam"),
        ("/conversations", "1  Legs  (2 messages, "),
        ("/new Arms", "Legs: a new conversation."),
        ("/coach", "* Mara Lindqvist: calm\n  Rico Valdés: loud"),
        ("/coach rico", "Rico Valdés: loud"),
        (
            "/coach nobody",
            "There is no coach called 'nobody'. Your coaches are Mara Lindqvist and Rico Valdés.",
        ),
        ("/open 7", "Which one?"),
        ("/dance", "There is no command /dance."),
    ],
)
def test_each_command_shows_what_it_promises(client: CoachClient, typed: str, shown: str) -> None:
    """Commands print to the terminal, and the chat continues."""
    output = talk(client, typed)
    assert shown in output
    assert "\x1b" not in output
    assert output.endswith("See you next time.\n")


def test_commands_for_the_coach_are_sent_and_what_was_done_is_shown_below_the_reply(
    service: ScriptedService, client: CoachClient
) -> None:
    """An event of a kind that is not known is skipped."""
    notice = frame(type="contextual", content="Saved [31mto memory", stage="memory_saved")
    service.streams = [[REPLY[0], notice, frame(type="tool", content="?"), *REPLY[1:]]]
    output = talk(client, "/save-memory No peanuts")
    assert "There is no command" not in output
    reply, _, after = output.partition("slowly")
    assert "Saved" not in reply
    assert "Saved [31mto memory" in after
    assert "?" not in after


def test_a_message_that_waits_for_another_reply_says_so_in_a_line(
    service: ScriptedService, client: CoachClient
) -> None:
    """Whenever its position changes, and before the reply."""
    waiting = [frame(type="queued", runId="run_1", position=position) for position in (2, 1)]
    service.streams = [[REPLY[0], *waiting, *REPLY[1:]]]
    before, _, _ = talk(client, "And now?").partition("slowly")
    assert "Your message waits for 2 others." in before
    assert "Your message waits for the reply that is being written." in before


def test_a_listed_conversation_is_opened_by_its_number(client: CoachClient) -> None:
    """Its earlier messages are shown."""
    assert talk(client, "/conversations", "/open 1").count("Hello") == 2


@pytest.mark.parametrize("leave", [EOFError, KeyboardInterrupt])
def test_leaving_by_key_is_no_error(client: CoachClient, leave: type[BaseException]) -> None:
    """Ctrl-D and Ctrl-C end the chat normally."""
    console = Console(file=io.StringIO())

    def read_line(_prompt: str) -> str:
        raise leave

    Chat(client, console, client.session.coaches[0]).run(read_line)


def test_without_a_server_the_sentence_says_what_to_do() -> None:
    """No server listens on the port any more."""
    with served(Response(status_code=404)) as url:
        pass
    with CoachClient(url) as client, pytest.raises(ChatFailure, match="Is `coachstream serve` running"):
        _ = client.session


def test_another_server_is_recognised_as_such() -> None:
    """Its response is not a session."""
    with (
        served(Response(status_code=404)) as url,
        CoachClient(url) as client,
        pytest.raises(ChatFailure, match="is not `coachstream serve`"),
    ):
        _ = client.session


def test_a_reply_cannot_steer_the_terminal(service: ScriptedService, client: CoachClient) -> None:
    """Escape sequences, carriage returns and direction overrides are removed, however split; emoji stay."""
    hostile = "a\x1b]0;title\x07b\x9bc\r\n1\u202e2\r:eyes: \U0001f3cb\ufe0f\u200d\u2640\ufe0f"
    offsets = (utf16_length(hostile[:at]) for at in range(len(hostile)))
    chunks = (
        frame(type="chunk", content=each, offset=at) for each, at in zip(hostile, offsets, strict=False)
    )
    service.streams = [[*chunks, REPLY[-1]]]
    output = talk(client, "Hi")
    assert "a]0;titlebc\n12\n:eyes: \U0001f3cb\ufe0f\u200d\u2640\ufe0f\n" in output
    assert not set("\x1b\x07\x9b\r\u202e") & set(output)


def test_a_title_cannot_steer_the_terminal(client: CoachClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored text is sanitized just like streamed text."""
    monkeypatch.setitem(CONVERSATION, "title", "Legs\x1b[2J\u202eback\U000e0041")
    assert "Legs[2Jback" in talk(client, "/conversations")


def test_the_first_interrupt_stops_the_reply_and_the_chat_continues(tmp_path: Path) -> None:
    """The text so far is stored as the reply, no more follows, and the next message is answered."""
    with serving(tmp_path / "data", "--model-delay", "0.2", "--in-process") as server:
        console = InterruptingConsole(after_pieces=3)
        with CoachClient(server.ready.url) as client:
            chat = Chat(client, console, client.session.coaches[0])
            conversation = chat.open(is_new=True)
            assert chat.ask("How was my week?") is False
            assert "Stopped." in console.shown
            stored = client.conversation(client.session.coach_id, conversation.conversation_id).messages
            assert [message.role for message in stored] == ["user", "assistant"]
            assert " ".join(stored[1].content.split()) in " ".join(console.shown.split())
            assert "demo model" not in stored[1].content
            assert chat.ask("Thanks!") is True


def test_a_second_interrupt_leaves_the_chat(service: ScriptedService, client: CoachClient) -> None:
    """A reply whose run is not known yet cannot be stopped, but its reader can leave."""
    service.streams = [[frame(type="start"), FIRST, FIRST, SECOND]]
    console = InterruptingConsole(after_pieces=1, times=2)
    typed = iter(["Hi"])
    Chat(client, console, client.session.coaches[0]).run(lambda _prompt: next(typed))
    assert console.shown.endswith("See you next time.\n")


class InterruptingConsole(Console):
    """A terminal on which Ctrl-C is pressed, once or more, after some pieces of a reply."""

    def __init__(self, *, after_pieces: int, times: int = 1) -> None:
        super().__init__(file=io.StringIO(), width=100, force_terminal=False)
        self._pieces_left = after_pieces
        self._times = times

    @property
    def shown(self) -> str:
        """Everything that was printed."""
        assert isinstance(self.file, io.StringIO)
        return self.file.getvalue()

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401 (as in rich)
        """Print, and interrupt after the configured piece of the reply."""
        super().print(*objects, **options)
        if options.get("end") == "":
            self._pieces_left -= 1
            if self._pieces_left == 0:
                for _ in range(self._times):
                    os.kill(os.getpid(), signal.SIGINT)
