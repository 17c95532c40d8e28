"""A coach's configuration, read leniently: a missing or odd field never fails a turn."""

from __future__ import annotations

import msgspec


class CoachConfig(msgspec.Struct, frozen=True):
    """What the prompt needs of a coach (existing system, section 1.4); empty where nothing is known."""

    coach_id: str
    name: str
