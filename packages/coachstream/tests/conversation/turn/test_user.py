"""A turn knows its user: the time zone, the profile, and what a long conversation was about."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from coachstream.conversation.events import Completed
from coachstream.conversation.ids import message_id
from coachstream.conversation.model import Message, MessageMetadata, Role, StopReason
from coachstream.conversation.ports import ModelStop, WorkoutLog
from coachstream.conversation.prompt.prompt import Prompt, SectionName
from coachstream.conversation.turn.request import ResumeRequest
from coachstream.conversation.turn.settings import ContextLimits
from coachstream.conversation.turn.turn import new_user_message, resume_run, run_opener, run_watcher
from support.turn_events import events_of
from support.turns import KEY, NOW, FixedDate, Recorded, Stage

#: `NOW` is ten o'clock in London.
LOCAL = {
    "UTC": "It is Monday, 2026-11-23, 10:00 (UTC).",
    "Asia/Tokyo": "It is Monday, 2026-11-23, 19:00 (Asia/Tokyo, UTC+09:00).",
    "Pacific/Kiritimati": "It is Tuesday, 2026-11-24, 00:00 (Pacific/Kiritimati, UTC+14:00).",
    "America/Los_Angeles": "It is Monday, 2026-11-23, 02:00 (America/Los_Angeles, UTC-08:00).",
}


def section(prompt: Prompt, name: SectionName) -> str:
    """The text of a section; empty if the prompt has none."""
    return next((each.text for each in prompt.sections if each.name is name), "")


@pytest.mark.parametrize(
    ("sent", "in_profile", "by_setting", "zone"),
    [
        ("Asia/Tokyo", "Pacific/Kiritimati", "America/Los_Angeles", "Asia/Tokyo"),
        (None, "Pacific/Kiritimati", "America/Los_Angeles", "Pacific/Kiritimati"),
        ("Etc/Unknown", "Pacific/Kiritimati", "America/Los_Angeles", "Pacific/Kiritimati"),
        (None, None, "America/Los_Angeles", "America/Los_Angeles"),
        (None, "Pacific time", "America/Los_Angeles", "America/Los_Angeles"),
        (None, "../../etc/passwd", "UTC", "UTC"),
        (None, ["Asia/Tokyo", "UTC"], "UTC", "UTC"),
    ],
)
async def test_the_request_s_zone_wins_then_the_profile_s_then_the_setting_s(
    sent: str | None, in_profile: object, by_setting: str, zone: str
) -> None:
    """A name that the database does not have is passed over; the workout's function gets the same zone."""
    stage = Stage()
    stage.workouts = Recorded[WorkoutLog]()
    stage.settings = msgspec.structs.replace(stage.settings, time_zone=by_setting)
    await stage.store.put_profile(KEY.user_id, {"preferences": {"timezone": in_profile}})
    request = msgspec.structs.replace(stage.request("/log-workout 5x5 squats"), time_zone=sent)
    assert isinstance((await stage.run(request))[-1], Completed)
    assert section(stage.model.prompts[0], SectionName.CURRENT_TIME).splitlines()[1] == LOCAL[zone]
    [workout] = stage.workouts.taken
    assert workout.time_zone == zone


async def test_whoever_writes_the_reply_knows_the_sender_s_zone() -> None:
    """A run that is opened for a reader keeps it: the reader's request does not say it again."""
    stage = Stage()
    request = msgspec.structs.replace(stage.request(), time_zone="Asia/Tokyo")
    opener = run_opener(stage.dependencies, stage.settings)
    run = await opener.open_for_reader(
        KEY,
        lambda: new_user_message(request, stage.dependencies),
        "run-1",
        deadline=request.deadline,
        time_zone=request.time_zone,
    )
    resume = ResumeRequest(KEY, run, FixedDate().monotonic() + 30)
    watcher = run_watcher(resume, stage.dependencies, stage.settings)
    await watcher.open()
    events = [
        event async for event in events_of(resume_run, resume, watcher, stage.dependencies, stage.settings)
    ]
    assert isinstance(events[-1], Completed)
    told = section(stage.model.prompts[0], SectionName.CURRENT_TIME)
    assert told.splitlines()[1] == LOCAL["Asia/Tokyo"]


async def test_the_users_own_rule_survives_every_budget() -> None:
    """No time for anything optional, and no room for history: it still comes first."""
    stage = Stage()
    stage.settings = msgspec.structs.replace(
        stage.settings,
        history_budget_chars=0,
        limits=ContextLimits(optional_budget_s=0, profile_budget_s=30),
    )
    gate = stage.store.gates["load_profile"] = asyncio.Event()
    await stage.store.put_profile(
        KEY.user_id, {"criticalTrainingDirective": {"enabled": True, "content": "No jumps."}}
    )
    turn = asyncio.create_task(stage.run())
    await stage.store.reached["load_profile"].wait()
    gate.set()
    assert isinstance((await turn)[-1], Completed)
    first = stage.model.prompts[0].sections[0]
    assert first.name is SectionName.DIRECTIVE
    assert "No jumps." in first.text


async def test_a_profile_that_never_comes_delays_the_turn_by_its_budget_only() -> None:
    """Then it is left out, which the report says."""
    stage = Stage()
    stage.store.gates["load_profile"] = asyncio.Event()
    completed = (await stage.run())[-1]
    assert isinstance(completed, Completed)
    assert stage.reports[0].left_out == ("user profile",)


def a_long_conversation(messages: int) -> list[Message]:
    """So many messages of 400 characters, a minute apart, up to now."""
    found = []
    for number in range(messages):
        role = Role.USER if number % 2 == 0 else Role.ASSISTANT
        moment = NOW - timedelta(minutes=messages - number)
        name = message_id(moment, role, lambda _: 0)
        stop = StopReason.END_TURN if role is Role.ASSISTANT else None
        text = f"Message {number:04d}. ".ljust(400, "x")
        found.append(Message(name, role, text, moment, MessageMetadata(stop_reason=stop)))
    return found


async def test_in_a_long_conversation_the_summary_fills_what_the_window_leaves_out() -> None:
    """Of 2,000 messages the newest fit; what was said at the beginning is known from the summary."""
    stage = Stage()
    stage.store.messages[KEY] = a_long_conversation(2_000)
    await stage.store.put_summary(
        KEY,
        {
            "narrative": "At the beginning the user said that their left knee was operated on.",
            "structuredData": {"important_context": ["Left knee: operated in 2019"]},
            "metadata": {"messageRange": {"totalMessages": 1_998}, "createdAt": "2026-11-23T09:00:00.000Z"},
        },
    )
    stage.model.script = ("Yes.", ModelStop(StopReason.END_TURN))
    assert isinstance((await stage.run(stage.request("Which knee was it?")))[-1], Completed)
    [prompt] = stage.model.prompts
    said = "\n".join(message.text for message in prompt.messages)
    assert "Message 1999." in said
    assert "Message 0000." not in said
    assert len(said) <= stage.settings.history_budget_chars
    summary = section(prompt, SectionName.CONVERSATION_SUMMARY)
    assert "their left knee was operated on" in summary
    assert "- <data>Left knee: operated in 2019</data>" in summary
    assert "written on 2026-11-23 after 1998 messages" in summary
