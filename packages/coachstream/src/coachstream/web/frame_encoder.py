"""Our own wire protocol: every event is a frame, and those that move the reader have an id to resume from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from coachstream.conversation.events import Attached, Event, LogPoint, Queued, Started
from coachstream.web.frames import StartFrame, frame_of, point_of
from coachstream.web.request_body import parse_new_message
from coachstream.web.sse import RESPONSE_HEADERS, encode_frame
from coachstream.web.wire_protocol import Posted


class FrameEncoder:
    """Encodes events as frames.

    Args:
        point: the reader's position, if the run is already known; `start` then names the run.
        retry_ms: the reconnection time sent to an `EventSource`.
    """

    headers: Mapping[str, str] = RESPONSE_HEADERS

    def __init__(self, point: LogPoint | None = None, *, retry_ms: int | None = None) -> None:
        self._point = point
        self._run_id = None if point is None else point.run_id
        self._retry_ms = retry_ms

    def begin(self) -> bytes:
        """Encode `start`."""
        start = StartFrame() if self._run_id is None else StartFrame(run_id=self._run_id)
        return encode_frame(start, event_id=_id_of(self._point), retry_ms=self._retry_ms)

    def encode(self, event: Event) -> bytes:
        """Encode any other event, unless the reader knows it."""
        if isinstance(event, Started):
            return b""
        if isinstance(event, Queued):
            self._run_id = None  # `run` follows when its turn has come
        if isinstance(event, Attached):
            if event.point.run_id == self._run_id:
                return b""
            self._run_id = event.point.run_id
        return encode_frame(frame_of(event), event_id=_id_of(point_of(event)))


def read_post(body: bytes | None, *, received_at: datetime) -> Posted:
    """Read a `MessageBody`.

    Raises:
        RequestError: see `parse_new_message`.
    """
    return Posted(parse_new_message(body, received_at=received_at), FrameEncoder())


def _id_of(point: LogPoint | None) -> str | None:
    return None if point is None else str(point)
