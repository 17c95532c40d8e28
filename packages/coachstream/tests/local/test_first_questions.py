"""The first questions of a new user, on the data that `coachstream serve` starts with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec
import pytest

from coachstream.functions.stream_coach_conversation.handler import handler_for
from coachstream.identity.local_issuer import LocalIssuer
from coachstream.local.session import Person
from coachstream.local.user_directory import UserDirectory
from coachstream.services import Services
from coachstream.settings import DemoModelSettings, Settings, SqliteRecallSettings
from coachstream.web.sse import SseReader
from lambda_streaming.function_url import FunctionUrlApp, InProcessInvoker
from support.patience import PATIENCE_S

SQUATS = "Back squat 5x5 at 107.5 kg, all sets clean"
ROWING = "8 x 250 m on the rower with 60 s rest, average split 1:58"
PRESS = "Overhead press 5x5 at 47.5 kg, deadlift 3x5 at 135 kg"
OLDER = "Back squat 5x5 at 105 kg"


@dataclass
class Demo:
    """The seeded service."""

    http: httpx.AsyncClient
    person: Person

    async def ask(self, question: str) -> str:
        """The coach's reply."""
        person = self.person
        path = f"/users/{person.user_id}/coaches/{person.coaches[0].coach_id}/conversations"
        response = await self.http.post(
            f"{path}/{person.conversation_id}/stream", json={"userResponse": question}, timeout=PATIENCE_S
        )
        *_, complete = [json.loads(data) for data in SseReader().feed(response.content)]
        return str(complete["aiMessage"]["content"])


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Demo]:
    settings = msgspec.structs.replace(
        Settings.embedded(tmp_path), model=DemoModelSettings(0), recall=SqliteRecallSettings(tmp_path)
    )
    services = Services(settings)
    app = FunctionUrlApp(InProcessInvoker(handler_for(lambda: services), timeout_s=PATIENCE_S))
    async with aclosing(services), aclosing(app):
        person = await UserDirectory(services, tmp_path, seeds_tables=False).prepare(None)
        issued = await asyncio.to_thread(LocalIssuer(tmp_path).issue, person.user_id)
        headers = {"Authorization": f"Bearer {issued.token}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://demo", headers=headers) as http:
            yield Demo(http, person)


@pytest.mark.parametrize(
    ("question", "facts", "not_there"),
    [
        ("How was my week?", ("3 times in the last seven days", SQUATS, ROWING, PRESS), (OLDER, "Warm up")),
        ("What should I squat today?", (SQUATS, "the next step is 110 kg"), ("”: 5 kg.", OLDER)),
        ("Hi!", ("Good ",), ("Knee-friendly",)),
        ("Who are you?", ("I am Mara Lindqvist", "demo"), (SQUATS,)),
        ("My knee hurts when I squat. What should I do?", ("Knee-friendly squatting", "to a box"), ()),
        ("What did I do last time?", (SQUATS, "yesterday"), (ROWING, OLDER)),
        ("What should I eat after training?", ("say nothing about food",), (SQUATS,)),
        ("What is the plan for tomorrow?", ("\n- ", SQUATS), ()),
        ("How do I get more pull-ups?", ("three or four times a week at about half of the maximum",), ()),
        ("Thanks!", (), (ROWING, "Knee-friendly", "next step")),
    ],
)
async def test_a_question_that_a_newcomer_types_is_answered_from_the_seeded_data(
    demo: Demo, question: str, facts: tuple[str, ...], not_there: tuple[str, ...]
) -> None:
    """The reply has the requested facts and no others, and says that it comes from a demo."""
    reply = await demo.ask(question)
    assert [fact for fact in facts if fact not in reply] == []
    assert [text for text in not_there if text in reply] == []
    assert "demo model" in reply
