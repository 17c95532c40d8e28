"""The page of a user who has used up a quota."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from support.chat_page import Tab, forgive_failed_requests
from support.serving import Serving, create_conversation, serving, stored_messages


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Replaces the server: here a user's first reply uses up the day."""
    environment = {**os.environ, "COACHSTREAM_QUOTA_TOKENS_PER_DAY": "1"}
    with serving(tmp_path_factory.mktemp("quota") / "data", environment=environment) as running:
        yield running


async def test_a_used_up_quota_is_a_sentence_with_the_time_to_wait(tab: Tab, server: Serving) -> None:
    """The text stays, to be sent again; nothing is stored."""
    conversation = create_conversation(server.ready)
    await tab.open(server.ready.coach_id, conversation)
    await tab.ask("How was my week?")
    await tab.write("And my month?")
    sentence = await tab.problem()
    hours = re.fullmatch(
        r"You have talked to your coach as much as you can in a day\. Please try again in ([0-9]+) h\.",
        sentence,
    )
    assert hours is not None, sentence
    assert 1 <= int(hours[1]) <= 24
    assert "And my month?" in await tab.texts()
    assert await tab.button("Try again").count() == 1
    assert len(stored_messages(server.ready, conversation)) == 2
    tab.problems = forgive_failed_requests(tab.problems)
