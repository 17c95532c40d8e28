"""A chat in the terminal, with streamed replies."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType
from typing import NoReturn

from rich.console import Console

from coachstream.conversation.visible_text import VisibleStream, visible
from coachstream.local.client import ChatFailure, CoachClient, StoredConversation, new_message_id
from coachstream.local.session import SessionCoach
from coachstream.local.word_wrap import WordWrapper

_HISTORY_SHOWN = 4
_COMMANDS = (
    ("/history", "all messages of this conversation"),
    ("/conversations", "your conversations with this coach"),
    ("/open N", "continue the conversation with that number"),
    ("/new [TITLE]", "start a conversation"),
    ("/coach [NAME]", "list the coaches, or switch to another one"),
    ("/retry", "send the last message again, if it got no reply"),
    ("/save-memory TEXT", "have the coach remember something"),
    ("/log-workout TEXT", "log a workout"),
    ("/quit", "leave (so do Ctrl-D and Ctrl-C; during a reply, Ctrl-C stops the reply)"),
)


_FOR_THE_COACH = frozenset({"/save-memory", "/log-workout"})
"""Commands that the service understands; they are sent."""


class Leave(Exception):
    """Raised when the user wants to leave."""


class Chat:
    """One user in one terminal, with one conversation at a time."""

    def __init__(self, client: CoachClient, console: Console, coach: SessionCoach) -> None:
        self._client = client
        self._console = console
        self._coach = coach
        self._conversation: StoredConversation | None = None
        self._unanswered: tuple[str, str] | None = None
        self._listed: tuple[StoredConversation, ...] = ()

    def open(self, conversation_id: str | None = None, *, is_new: bool = False) -> StoredConversation:
        """Continue a conversation (the latest one by default), or start one.

        Raises:
            ChatFailure: it does not exist, or the server cannot be reached.
        """
        self._unanswered = None
        if conversation_id is None and not is_new:
            latest = self._client.conversations(self._coach.coach_id)
            conversation_id = latest[0].conversation_id if latest else None
        if conversation_id is None:
            self._conversation = self._client.create_conversation(self._coach.coach_id, None)
        else:
            self._conversation = self._client.conversation(self._coach.coach_id, conversation_id)
        return self._conversation

    def ask(self, text: str) -> bool:
        """Send a message and print the reply as it arrives; return whether it is complete.

        The first Ctrl-C stops the reply, whose text is kept.

        Raises:
            ChatFailure: the reply is incomplete; `/retry` sends the same message again.
            KeyboardInterrupt: at the second Ctrl-C.
        """
        return self._send(text, new_message_id())

    def run(self, read_line: Callable[[str], str]) -> None:
        """Chat until the user leaves; failures are printed and the chat continues."""
        conversation = self._current()
        self._say(f"{self._coach.name}: {self._coach.description}", "bold")
        self._say(f"{conversation.title}. See /help for the commands.", "dim")
        self._show(conversation, last=_HISTORY_SHOWN)
        while True:
            try:
                line = read_line("\nyou> ").strip()
                if line.startswith("/") and line.partition(" ")[0] not in _FOR_THE_COACH:
                    self._command(line)
                elif line:
                    self.ask(line)
            except ChatFailure as failure:
                self._say(f"\n{failure.sentence}", "red")
                if self._unanswered and failure.retryable:
                    self._say("/retry sends your message again.", "dim")
            except (EOFError, KeyboardInterrupt, Leave):
                self._say("\nSee you next time.", "dim")
                return

    def show_history(self) -> None:
        """Print the whole conversation."""
        conversation = self._current()
        self._show(self._client.conversation(self._coach.coach_id, conversation.conversation_id), last=None)

    def _send(self, text: str, message_id: str) -> bool:
        conversation = self._current()
        self._unanswered = (text, message_id)
        self._say(f"\n{self._coach.name}:", "bold cyan")
        # Control sequences must not reach the terminal.
        seen, wrapper = VisibleStream(), WordWrapper(self._console.width)
        reply = self._client.ask(
            self._coach.coach_id,
            conversation.conversation_id,
            text,
            client_message_id=message_id,
            on_queued=self._say_position,
        )
        with _first_interrupt(reply.stop):
            for piece in reply:
                self._show_piece(wrapper.feed(seen.feed(piece)))
        self._show_piece(wrapper.feed(seen.flush()))
        self._console.print()
        self._unanswered = None
        for notice in reply.notices:
            self._say(notice, "dim green")
        if reply.is_stopped:
            self._say("Stopped. The reply so far is kept.", "dim")
        return not reply.is_stopped

    def _say_position(self, position: int) -> None:
        before = "the reply that is being written" if position == 1 else f"{position} others"
        self._say(f"Your message waits for {before}. Ctrl-C withdraws it.", "dim")

    def _command(self, line: str) -> None:
        name, _, argument = line.partition(" ")
        argument = argument.strip()
        match name:
            case "/help" | "/?":
                for usage, meaning in _COMMANDS:
                    self._say(f"{usage:<17} {meaning}")
            case "/history":
                self.show_history()
            case "/conversations":
                self._list_conversations()
            case "/open":
                self._open_number(argument)
            case "/new":
                self._conversation = self._client.create_conversation(self._coach.coach_id, argument or None)
                self._unanswered = None
                self._say(f"{self._conversation.title}: a new conversation.", "dim")
            case "/coach" | "/coaches":
                self._choose_coach(argument)
            case "/retry":
                self._retry()
            case "/quit" | "/exit":
                self._leave()
            case _:
                self._say(f"There is no command {name}. See /help for the commands.", "yellow")

    def _leave(self) -> NoReturn:
        raise Leave

    def _retry(self) -> None:
        if self._unanswered is None:
            self._say("There is nothing to send again.", "yellow")
        else:
            self._send(*self._unanswered)

    def _list_conversations(self) -> None:
        self._listed = self._client.conversations(self._coach.coach_id)
        for number, conversation in enumerate(self._listed, 1):
            messages = conversation.metadata.total_messages
            when = _local_time(conversation.metadata.last_activity)
            self._say(f"{number:>3}  {conversation.title}  ({messages} messages, {when})")
        if not self._listed:
            self._say("None yet. Just write something.", "dim")

    def _open_number(self, argument: str) -> None:
        if not argument.isdecimal() or not 1 <= int(argument) <= len(self._listed):
            self._say("Which one? /conversations lists them by number.", "yellow")
            return
        self._show(self.open(self._listed[int(argument) - 1].conversation_id), last=_HISTORY_SHOWN)

    def _choose_coach(self, name: str) -> None:
        if name:
            self._coach = self._client.find_coach(name)
            self._listed = ()
            conversation = self.open()
            self._say(f"{self._coach.name}: {self._coach.description}", "bold")
            self._show(conversation, last=_HISTORY_SHOWN)
        else:
            for coach in self._client.session.coaches:
                self._say(f"{'*' if coach == self._coach else ' '} {coach.name}: {coach.description}")

    def _show(self, conversation: StoredConversation, *, last: int | None) -> None:
        messages = conversation.messages if last is None else conversation.messages[-last:]
        if left_out := len(conversation.messages) - len(messages):
            self._say(f"... {left_out} earlier messages; /history shows them", "dim")
        for message in messages:
            is_mine = message.role == "user"
            self._say(
                f"\n{'you' if is_mine else self._coach.name}, {_local_time(message.timestamp)}:",
                "bold" if is_mine else "bold cyan",
            )
            self._say(message.content)

    def _current(self) -> StoredConversation:
        return self.open() if self._conversation is None else self._conversation

    def _show_piece(self, piece: str) -> None:
        self._console.print(piece, end="", markup=False, emoji=False, highlight=False, soft_wrap=True)
        self._console.file.flush()

    def _say(self, text: str, style: str | None = None) -> None:
        self._console.print(visible(text), style=style, markup=False, emoji=False, highlight=False)


@contextmanager
def _first_interrupt(call: Callable[[], None]) -> Iterator[None]:
    """Make the first Ctrl-C in the block call a function; the second one interrupts."""
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        call()

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _local_time(timestamp: str) -> str:
    try:
        moment = datetime.fromisoformat(timestamp).astimezone()
    except ValueError:
        return timestamp
    return moment.strftime("%d %b %H:%M")
