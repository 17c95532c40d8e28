"""A reader of Server-Sent Events that keeps the state of an `EventSource`, and the text so far."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reading:
    """The part of a reply read so far, over any number of connections (HTML standard, section 9.2.6).

    Attributes:
        last_event_id: the value that would be sent as `Last-Event-ID`.
        events: all dispatched events.
        ids: the last event id at each of them.
        retry_ms: the server's `retry` value.
        text: the reply so far, with overlap dropped by offset and resets applied. A gap fails.
    """

    last_event_id: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    retry_ms: int | None = None
    _units: bytes = b""
    _rest: bytes = b""

    @property
    def text(self) -> str:
        return self._units.decode("utf-16-le")

    @property
    def last(self) -> dict[str, Any]:
        return self.events[-1]

    @property
    def is_over(self) -> bool:
        return bool(self.events) and self.last["type"] in {"complete", "error"}

    @property
    def run_id(self) -> str:
        return self.last_event_id.rpartition(":")[0]

    def connect(self) -> None:
        """Begin a new connection, which discards an incomplete block of the previous one."""
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Feed bytes, split anywhere."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            self._take(block)

    def _take(self, block: bytes) -> None:
        data: list[str] = []
        for line in block.decode().split("\n"):
            name, _, value = line.partition(":")
            match name:
                case "data":
                    data.append(value.removeprefix(" "))
                case "id":
                    self.last_event_id = value.removeprefix(" ")
                case "retry":
                    self.retry_ms = int(value)
                case _:
                    pass
        if data:
            event = json.loads("\n".join(data))
            self.events.append(event)
            self.ids.append(self.last_event_id)
            self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        if event["type"] == "chunk":
            at = 2 * event["offset"]
            assert at <= len(self._units), "text is missing"
            self._units += event["content"].encode("utf-16-le")[len(self._units) - at :]
        elif event["type"] == "reset":
            self._units = self._units[: 2 * event["offset"]]
