"""The draft of a reply: the text so far, as the reader and the log have it."""

from __future__ import annotations

from coachstream.conversation.events import Chunk, LogPoint, Reset, Send
from coachstream.conversation.limits import LONGEST_REPLY_BYTES
from coachstream.conversation.prompt.history import PARAGRAPH
from coachstream.conversation.runs.writer import RunWriter
from coachstream.conversation.text import beginning_of, utf16_length
from coachstream.conversation.turn.deadline import TurnDeadline
from coachstream.conversation.turn.report import TurnMeasurements
from coachstream.conversation.visible_text import is_blank


class Draft:
    """The draft of one reply. Text goes to the reader immediately, and to the log in the background.

    Args:
        said: the text that earlier lease holders produced.
        writer: writes the run's log.
        send: sends events to the reader.
        deadline: the turn's deadline.
        measured: the turn's measurements, updated in place.

    Attributes:
        has_words: whether the model has produced any visible text.
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
        """The whole text so far."""
        return "".join(self._said)

    @property
    def is_empty(self) -> bool:
        """Whether there is no text."""
        return not self._said

    async def begin(self, confirmation: str) -> None:
        """Start with the application's confirmation, if any, before the model's text.

        A draft of an earlier lease holder already starts with it.
        """
        self._preface = confirmation + PARAGRAPH if confirmation else ""
        self.has_words = not is_blank(self.text.removeprefix(self._preface))
        if self._preface and self.is_empty:
            await self._say(self._preface)

    async def say(self, text: str) -> bool:
        """Add text up to the size a store can hold; return whether all of it fit."""
        storable = beginning_of(text, most_bytes=self._bytes_left)
        if storable:
            await self._say(storable)
        return len(storable) == len(text)

    async def end(self, closing_words: str) -> None:
        """Add the application's closing words, if any, as a paragraph; not again after a takeover."""
        if closing_words and closing_words not in self.text:
            await self.say((PARAGRAPH if self._said else "") + closing_words)

    async def restart(self) -> None:
        """Discard the text and start over with the application's confirmation."""
        self._said.clear()
        self.offset = 0
        self._bytes_left = LONGEST_REPLY_BYTES
        self.has_words = False
        self._writer.reset()
        await self._send(Reset(0, self._new_point()))
        if self._preface:
            await self._say(self._preface)

    async def take_back_confirmation(self) -> None:
        """Keep only the model's text, because the confirmed side effect is undone."""
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
        """The newest entry of the log, unless the reader has it."""
        point = self._writer.point
        if point.number == self._announced:
            return None
        self._announced = point.number
        return point
