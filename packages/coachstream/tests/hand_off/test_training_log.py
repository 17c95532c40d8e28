"""The training log on a person's machine."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from coachstream.conversation.model import ConversationKey, Workout
from coachstream.conversation.ports import WorkoutLog
from coachstream.conversation.prompt.coach import parse_coach_config
from coachstream.hand_off.training_log import NAME, TrainingLog
from coachstream.storage.sqlite import SqliteStore

LOGGED = WorkoutLog(
    key=ConversationKey("sam", "mara", "conv_1"),
    message_id="msg_1795428000007_abc_user",
    text="I did 5x5 squats",
    coach=parse_coach_config("mara", {"coach_name": "Mara"}),
    command=None,
    sent_at=datetime(2026, 11, 23, 10, 0, 0, 7_000, tzinfo=UTC),
    time_zone="America/Los_Angeles",
)


async def test_a_workout_is_logged_as_it_was_written_and_once(tmp_path: Path) -> None:
    """The next prompt has it; another message is another workout."""
    async with aclosing(SqliteStore(tmp_path / "coachstream.db")) as store:
        log = TrainingLog(store)
        await log.build(LOGGED)
        await log.build(LOGGED)
        expected = Workout("ws_sam_1795428000007_abc", LOGGED.sent_at, "I did 5x5 squats", name=NAME)
        assert list(await store.load_recent_workouts("sam", limit=5)) == [expected]
        await log.build(msgspec.structs.replace(LOGGED, message_id="msg_1795428000008_def_user"))
        assert len(await store.load_recent_workouts("sam", limit=5)) == 2
