"""Names of time zones, and dates in every zone, over each change of its clocks."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.model import Role, Workout
from coachstream.conversation.prompt.assembly import build_prompt
from coachstream.conversation.prompt.coach import CoachConfig
from coachstream.conversation.prompt.prompt import PromptMessage, SectionName
from coachstream.time_zone import MAX_NAME_CHARS, first_known_zone, is_zone_name, zone_named

ZONES = sorted(name for name in available_timezones() if name[0].isupper())
COACH = CoachConfig("c1", "Mara")
MESSAGES = (PromptMessage(Role.USER, "Hi"),)
START = datetime(2015, 1, 1, tzinfo=UTC)

#: From 2015 to 2037, where the database has rules for every zone.
MOMENTS = st.integers(0, 23 * 365 * 24 * 60).map(lambda minutes: START + timedelta(minutes=minutes))


def sections(now: datetime, zone: str, *workouts: datetime) -> dict[SectionName, list[str]]:
    """The lines of each section."""
    prompt = build_prompt(
        coach=COACH,
        now=now,
        messages=MESSAGES,
        workouts=[Workout(str(number), at, "Row") for number, at in enumerate(workouts)],
        timezone=first_known_zone(zone),
    )
    return {section.name: section.text.splitlines() for section in prompt.sections}


def changes_of(zone: str) -> list[datetime]:
    """The hours of 2026 before which the zone's offset is another one than after."""
    hours = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(365 * 24)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [hours[at] for at in range(1, len(hours)) if offsets[at] != offsets[at - 1]]


def test_every_zone_of_the_database_is_known_by_its_name() -> None:
    """No rule about the form of a name excludes a real one."""
    assert len(ZONES) > 400
    assert [name for name in ZONES if str(zone_named(name)) != name] == []
    assert max(map(len, ZONES)) <= MAX_NAME_CHARS / 2


@pytest.mark.parametrize(
    "name",
    ["", "localtime", "posixrules", "posix/UTC", "right/UTC", "../UTC", "/UTC", "Europe//Paris", "UTC\n"],
)
def test_what_is_no_zone_has_not_the_form_of_one(name: str) -> None:
    """Neither a path out of the database, nor what else is in its folder: `localtime` is the server's."""
    assert not is_zone_name(name)
    assert zone_named(name) is None


@pytest.mark.parametrize("name", ["Etc/Unknown", "Mars/Olympus", "America", "America/Argentina", "Zone1970"])
def test_an_unknown_zone_of_the_right_form_is_none(name: str) -> None:
    """Also if the database has a folder of that name."""
    assert is_zone_name(name)
    assert zone_named(name) is None
    assert str(first_known_zone(name, None, "", "Asia/Kolkata", "UTC")) == "Asia/Kolkata"


def test_without_a_known_zone_it_is_utc() -> None:
    """Even where there is no database at all."""
    assert first_known_zone(None, "", "Mars/Olympus") is UTC
    assert str(first_known_zone()) == "UTC"


@given(st.text())
def test_no_text_raises(text: str) -> None:
    """A text is a zone, or it is not."""
    assert zone_named(text) is None or text in ZONES


@given(now=MOMENTS, zone=st.sampled_from(ZONES))
def test_now_is_what_the_users_clock_and_calendar_show(now: datetime, zone: str) -> None:
    """Weekday, date, time and offset agree with each other and with the moment, in every zone at any time."""
    line = sections(now, zone)[SectionName.CURRENT_TIME][1]
    weekday, date, time = line.removeprefix("It is ").split(" (")[0].split(", ")
    shown = datetime.fromisoformat(f"{date}T{time}")
    assert calendar.day_name[shown.weekday()] == weekday
    offset = now.astimezone(ZoneInfo(zone)).utcoffset()
    assert offset is not None
    assert abs(shown - offset - now.replace(tzinfo=None)) < timedelta(minutes=1)


@given(now=MOMENTS, zone=st.sampled_from(ZONES), ago=st.integers(0, 20 * 24 * 60))
def test_days_ago_are_counted_on_the_users_calendar(now: datetime, zone: str, ago: int) -> None:
    """A day of 23 or 25 hours is one day; midnight is the user's."""
    done = now - timedelta(minutes=ago)
    local_now, local = now.astimezone(ZoneInfo(zone)), done.astimezone(ZoneInfo(zone))
    days = local_now.date().toordinal() - local.date().toordinal()
    age = {0: "today", 1: "yesterday"}.get(days, f"{days} days ago")
    if days < 0:
        # A zone may skip a day, or repeat it: Samoa once did.
        age = f"{local:%Y-%m-%d}"
    weekday = calendar.day_name[local.weekday()]
    assert f"- {age}, {weekday}: <data>Row</data>" in sections(now, zone, done)[SectionName.WORKOUTS]


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Europe/Berlin", "Australia/Lord_Howe"])
def test_today_and_yesterday_hold_over_each_change_of_the_clocks(zone: str) -> None:
    """Every half hour of the three days around it, for workouts at the edges of the day before."""
    tz = ZoneInfo(zone)
    changes = changes_of(zone)
    assert len(changes) == 2
    for change in changes:
        for step in range(-72, 72):
            now = change + timedelta(minutes=30 * step)
            today = now.astimezone(tz).date()
            midnight = datetime(today.year, today.month, today.day, tzinfo=tz).astimezone(UTC)
            lines = sections(now, zone, midnight, midnight - timedelta(minutes=1))[SectionName.WORKOUTS]
            yesterday = calendar.day_name[(today - timedelta(days=1)).weekday()]
            assert lines[2:4] == [
                f"- today, {calendar.day_name[today.weekday()]}: <data>Row</data>",
                f"- yesterday, {yesterday}: <data>Row</data>",
            ]


def test_friday_afternoon_in_los_angeles_is_friday() -> None:
    """What the existing system's users saw: half past five, and this morning's squats."""
    now = datetime(2026, 11, 28, 1, 30, tzinfo=UTC)
    told = sections(now, "America/Los_Angeles", datetime(2026, 11, 27, 15, tzinfo=UTC))
    assert told[SectionName.CURRENT_TIME][1] == (
        "It is Friday, 2026-11-27, 17:30 (America/Los_Angeles, UTC-08:00)."
    )
    assert told[SectionName.WORKOUTS][2] == "- today, Friday: <data>Row</data>"
