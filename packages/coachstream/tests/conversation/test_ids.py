from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.ids import conversation_id, message_id, milliseconds_of
from coachstream.conversation.model import Role

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (hypothesis adds the zone)


@given(earlier=MOMENTS, apart=st.timedeltas(timedelta(milliseconds=1), timedelta(days=30_000)))
def test_ids_sort_by_time(earlier: datetime, apart: timedelta) -> None:
    """Of two messages at least a millisecond apart, the earlier one's id is the smaller string."""
    first = message_id(earlier, Role.USER, lambda below: below - 1)
    second = message_id(earlier + apart, Role.ASSISTANT, lambda _: 0)
    assert first < second


@given(MOMENTS)
def test_milliseconds_are_whole_and_cut(moment: datetime) -> None:
    """Fractions are truncated without floating point, so no millisecond is lost."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert (
        milliseconds_of(moment) == since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    )


def test_a_zone_does_not_change_the_moment() -> None:
    """The same instant has the same value in every time zone."""
    moment = datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert milliseconds_of(moment) == 1772359200000
    assert milliseconds_of(moment.astimezone(timezone(timedelta(hours=9)))) == 1772359200000


@pytest.mark.parametrize("role", list(Role))
def test_a_message_id_tells_time_and_role(role: Role) -> None:
    """`msg_<ms>_<9 base 36>_<role>`: the format that readers of existing ids expect."""
    made = message_id(datetime(2026, 3, 1, 10, tzinfo=UTC), role, secrets.randbelow)
    assert re.fullmatch(rf"msg_1772359200000_[0-9a-z]{{9}}_{role.value}", made)


def test_a_conversation_id_has_the_existing_form() -> None:
    """`conv_<ms>_<9 base 36>`."""
    made = conversation_id(datetime(2026, 3, 1, 10, tzinfo=UTC), secrets.randbelow)
    assert re.fullmatch(r"conv_1772359200000_[0-9a-z]{9}", made)


def test_the_random_part_uses_every_character() -> None:
    """0 is the first of 36 characters, 35 the last; the source is asked for nothing else."""
    asked: list[int] = []

    def random_below(below: int) -> int:
        asked.append(below)
        return [0, 9, 10, 35, 1, 34, 11, 8, 20][len(asked) - 1]

    made = conversation_id(datetime(2026, 3, 1, 10, tzinfo=UTC), random_below)
    assert made.rsplit("_", 1)[1] == "09az1yb8k"
    assert asked == [36] * 9
