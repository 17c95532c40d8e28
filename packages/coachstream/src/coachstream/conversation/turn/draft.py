"""The draft of a reply: what was said so far and still holds, at the reader and in the log."""

from __future__ import annotations

from coachstream.conversation.events import Chunk, LogPoint, Reset, Send
from coachstream.conversation.model import LONGEST_REPLY_BYTES
from coachstream.conversation.prompt.history import PARAGRAPH
from coachstream.conversation.runs.writer import RunWriter
from coachstream.conversation.text import beginning_of, utf16_length
from coachstream.conversation.turn.deadline import TurnDeadline
from coachstream.conversation.turn.report import TurnMeasurements
from coachstream.conversation.visible_text import is_blank


class Draft:
    """The draft of one reply. What is said goes to the reader as it comes, and into the log behind it.

    Args:
        said: the text of the run before this lease holder.
        writer: of the run's log.
        send: takes the events for the reader.
        deadline: of the turn.
        measured: of the turn; grows.

    Attributes:
        has_words: whether a person sees anything of what the model has said.
    """

    def __init__(
        self, said: str, writer: RunWriter, send: Send, deadline: TurnDeadline, measured: TurnMeasurements
    ) -> None:
        self.has_words = False
        self.offset = utf16_length(said)
        self._said = [said] if said else []
        self._preface = ""
        self._bytes_left = LONGEST_REPLY_BYTES - len(said.encode())
        self._announced = writer.point.number
        self._writer = writer
        self._send = send
        self._deadline = deadline
        self._measured = measured

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._said)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said, or nothing of it holds."""
        return not self._said

    async def begin(self, confirmation: str) -> None:
        """Begin with what the application confirms, if anything, before the model's words.

        A draft that an earlier lease holder left begins with it already.
        """
        self._preface = confirmation + PARAGRAPH if confirmation else ""
        self.has_words = not is_blank(self.text.removeprefix(self._preface))
        if self._preface and self.is_empty:
            await self._say(self._preface)

    async def say(self, text: str) -> bool:
        """Add text, as far as a store can hold the reply; whether it could be added whole."""
        storable = beginning_of(text, most_bytes=self._bytes_left)
        if storable:
            await self._say(storable)
        return len(storable) == len(text)

    async def restart(self) -> None:
        """Take back what was said; the application's confirmation is said again."""
        self._said.clear()
        self.offset = 0
        self._bytes_left = LONGEST_REPLY_BYTES
        self.has_words = False
        self._writer.reset()
        await self._send(Reset(0, self._new_point()))
        if self._preface:
            await self._say(self._preface)

    async def take_back_confirmation(self) -> None:
        """Leave the model's words alone, because what the application has confirmed is undone."""
        if self._preface:
            spoken = self.text.removeprefix(self._preface)
            self._preface = ""
            await self.restart()
            if spoken:
                await self._say(spoken)

    async def _say(self, text: str) -> None:
        self._measured.chunks += 1
        if self._measured.first_chunk_ms is None:
            self._measured.first_chunk_ms = self._deadline.elapsed_ms()
        chunk = Chunk(text, self.offset, self._new_point())
        self._said.append(text)
        self._bytes_left -= len(text.encode())
        self.offset += utf16_length(text)
        self._writer.say(text)
        await self._send(chunk)

    def _new_point(self) -> LogPoint | None:
        """The newest entry of the log, unless the reader knows it."""
        point = self._writer.point
        if point.number == self._announced:
            return None
        self._announced = point.number
        return point
