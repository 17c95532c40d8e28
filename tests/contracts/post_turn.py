"""What is written after a turn, over every store: once, even if it is requested twice or concurrently."""

from __future__ import annotations

import asyncio

import pytest

from coachstream.conversation.another_try import TryKind, TryRequest
from coachstream.conversation.errors import (
    ConversationNotFound,
    ModelStreamBroken,
    ModelThrottled,
    StorageUnavailable,
)
from coachstream.conversation.model import Conversation, ConversationChange, ConversationKey, StopReason
from coachstream.conversation.ports import SummaryReason, SummaryRequest, TitleRequest
from coachstream.conversation.prompt.user import ConversationSummary
from coachstream.conversation.run_store import RunBegun
from coachstream.conversation.title import DEFAULT_TITLE
from coachstream.conversation.turn.post_turn import Outcome, PostTurn
from contracts.another_try import reply_of
from contracts.store_records import (
    COACH,
    NEXT_RUN,
    NOW,
    SeedableStore,
    ended,
    opened,
    reply_to,
    store_reply,
    user_message,
)
from support.turns import FixedDate, RecallDouble, SummarizerDouble

KEY = ConversationKey("user-1", "coach-1", "conv-untitled")
TITLE = TitleRequest(KEY)


def summary_at(count: int, reason: SummaryReason = SummaryReason.MESSAGE_COUNT) -> SummaryRequest:
    """The request after so many messages."""
    return SummaryRequest(KEY, reason, count)


class PostTurnContract:
    """Summaries and titles of one conversation, with a model and an index that a test can steer."""

    @pytest.fixture(autouse=True)
    async def begun(self, store: SeedableStore) -> None:
        """A conversation with a default title and one exchange."""
        await store.put_coach(KEY.user_id, KEY.coach_id, COACH)
        await store.create_conversation(Conversation(KEY, DEFAULT_TITLE, NOW, NOW, tags=("legs",)))
        await self.talk(store, 1, "My knee hurts when I squat.")

    @pytest.fixture
    def summarizer(self) -> SummarizerDouble:
        """The model."""
        return SummarizerDouble()

    @pytest.fixture
    def recall(self) -> RecallDouble:
        """The index."""
        return RecallDouble()

    @pytest.fixture
    def post_turn(self, store: SeedableStore, summarizer: SummarizerDouble, recall: RecallDouble) -> PostTurn:
        """All of them."""
        return PostTurn(store, summarizer, recall, FixedDate())

    async def talk(
        self, store: SeedableStore, number: int, text: str, *, stop: StopReason = StopReason.END_TURN
    ) -> None:
        """Store an exchange."""
        message = user_message(number, text)
        await store_reply(store, message, reply_to(message, number + 1, stop=stop), key=KEY)

    async def test_a_title_replaces_the_default_one_and_changes_nothing_else(
        self, store: SeedableStore, post_turn: PostTurn, summarizer: SummarizerDouble
    ) -> None:
        """Messages, counts and tags stay; the model has read the exchange."""
        before = await store.get_conversation(KEY)
        assert await post_turn.process(TITLE) is Outcome.WRITTEN
        after = await store.get_conversation(KEY)
        assert after.title == "Squats and a knee"
        assert (after.total_messages, after.tags, after.last_activity) == (
            before.total_messages,
            before.tags,
            before.last_activity,
        )
        assert summarizer.read == ["My knee hurts when I squat.", "Well done."]
        assert len(await store.load_messages(KEY)) == 2

    async def test_a_title_of_the_user_s_own_is_never_replaced(
        self, store: SeedableStore, post_turn: PostTurn, summarizer: SummarizerDouble
    ) -> None:
        """Neither one that is there before the model is asked, nor one that comes while it writes."""
        summarizer.gate = asyncio.Event()
        writing = asyncio.create_task(post_turn.process(TITLE))
        await summarizer.reached.wait()
        await store.change_conversation(KEY, ConversationChange(title="My knee"))
        summarizer.gate.set()
        assert await writing is Outcome.NOT_DUE
        assert await post_turn.process(TITLE) is Outcome.NOT_DUE
        assert (await store.get_conversation(KEY)).title == "My knee"
        assert summarizer.calls == 1

    async def test_a_title_that_is_requested_twice_is_written_once(
        self, post_turn: PostTurn, summarizer: SummarizerDouble
    ) -> None:
        """The second request does not ask the model."""
        assert [await post_turn.process(TITLE) for _ in range(2)] == [Outcome.WRITTEN, Outcome.NOT_DUE]
        assert summarizer.calls == 1

    async def test_concurrent_requests_for_a_title_write_one(
        self, store: SeedableStore, post_turn: PostTurn, summarizer: SummarizerDouble
    ) -> None:
        """Both have asked the model; the later write changes nothing."""
        summarizer.gate = asyncio.Event()
        other = SummarizerDouble("Another title for it")
        other.gate = summarizer.gate
        racing = [
            asyncio.create_task(each.process(TITLE))
            for each in (post_turn, PostTurn(store, other, None, FixedDate()))
        ]
        await asyncio.gather(summarizer.reached.wait(), other.reached.wait())
        summarizer.gate.set()
        outcomes = await asyncio.gather(*racing)
        assert sorted(outcomes) == [Outcome.NOT_DUE, Outcome.WRITTEN]
        written = summarizer if outcomes[0] is Outcome.WRITTEN else other
        assert (await store.get_conversation(KEY)).title == written.title

    async def test_a_summary_of_an_older_version_is_written_again_from_the_chosen_line(
        self,
        store: SeedableStore,
        post_turn: PostTurn,
        summarizer: SummarizerDouble,
        recall: RecallDouble,
    ) -> None:
        """Once, and without what the first one said."""
        request = summary_at(2)
        assert await post_turn.process(request) is Outcome.WRITTEN
        [_, reply] = await store.load_messages(KEY)
        again = TryRequest(TryKind.REGENERATE, reply.id, "again")
        begun = await store.begin_try(KEY, again, None, NEXT_RUN, opened())
        assert isinstance(begun, RunBegun)
        better = reply_of(begun, "Rest it.")
        assert (
            await store.finish_run(KEY, NEXT_RUN, ended(1, better), better, None, begun.another_try) is None
        )

        summarizer.narrative = "They rest."
        for outcome in (Outcome.WRITTEN, Outcome.NOT_DUE):
            assert await post_turn.process(request) is outcome
            assert summarizer.read == ["My knee hurts when I squat.", "Rest it."]
            assert summarizer.earlier == ConversationSummary()
            assert recall.summaries[KEY].narrative == "They rest."
            assert (await store.load_summary(KEY)).narrative == "They rest."
        assert summarizer.calls == 2

    async def test_a_title_that_does_not_fit_is_not_stored(
        self, store: SeedableStore, post_turn: PostTurn, summarizer: SummarizerDouble
    ) -> None:
        """The default one stays, so that a later turn can request another."""
        for title in ("Squats", "one two three four five six seven eight", "Knee\nand <b>squats</b>", ""):
            summarizer.title = title
            assert await post_turn.process(TITLE) is Outcome.DOES_NOT_FIT
        assert (await store.get_conversation(KEY)).title == DEFAULT_TITLE

    async def test_a_greeting_gets_no_title_yet(
        self, store: SeedableStore, summarizer: SummarizerDouble
    ) -> None:
        """The model is not asked for the title of next to nothing."""
        key = ConversationKey(KEY.user_id, KEY.coach_id, "conv-greeting")
        await store.create_conversation(Conversation(key, DEFAULT_TITLE, NOW, NOW))
        message = user_message(1, "Hi there")
        await store_reply(store, message, reply_to(message, 2), key=key)
        post_turn = PostTurn(store, summarizer, None, FixedDate())
        assert await post_turn.process(TitleRequest(key)) is Outcome.NOT_DUE
        assert summarizer.calls == 0

    async def test_a_summary_is_stored_and_indexed(
        self, store: SeedableStore, post_turn: PostTurn, summarizer: SummarizerDouble, recall: RecallDouble
    ) -> None:
        """The next one is given what it says, and replaces it in both places."""
        assert await post_turn.process(summary_at(2)) is Outcome.WRITTEN
        stored = await store.load_summary(KEY)
        assert (stored.narrative, stored.total_messages) == ("They squat.", 2)
        assert (stored.current_goals, stored.key_insights) == (("Run",), ("Rests little",))
        assert recall.summaries == {KEY: stored}
        await self.talk(store, 3, "Now I run.")
        summarizer.narrative = "They run."
        assert await post_turn.process(summary_at(4, SummaryReason.COMPLEXITY)) is Outcome.WRITTEN
        assert summarizer.earlier == stored
        assert summarizer.read[-2:] == ["Now I run.", "Well done."]
        assert (await store.load_summary(KEY)).narrative == recall.summaries[KEY].narrative == "They run."

    async def test_a_summary_that_is_requested_twice_is_written_once(
        self, post_turn: PostTurn, summarizer: SummarizerDouble, recall: RecallDouble
    ) -> None:
        """One model call, one summary, one record."""
        outcomes = [await post_turn.process(summary_at(2)) for _ in range(2)]
        assert outcomes == [Outcome.WRITTEN, Outcome.NOT_DUE]
        assert summarizer.calls == 1
        assert list(recall.summaries) == [KEY]

    async def test_concurrent_requests_for_a_summary_write_one(
        self, store: SeedableStore, post_turn: PostTurn, summarizer: SummarizerDouble, recall: RecallDouble
    ) -> None:
        """Store and index have the same one, whichever was first."""
        summarizer.gate = asyncio.Event()
        other = SummarizerDouble(narrative="They jump.")
        other.gate = summarizer.gate
        racing = [
            asyncio.create_task(each.process(summary_at(2)))
            for each in (post_turn, PostTurn(store, other, recall, FixedDate()))
        ]
        await asyncio.gather(summarizer.reached.wait(), other.reached.wait())
        summarizer.gate.set()
        outcomes = await asyncio.gather(*racing)
        assert sorted(outcomes) == [Outcome.NOT_DUE, Outcome.WRITTEN]
        written = summarizer if outcomes[0] is Outcome.WRITTEN else other
        assert (await store.load_summary(KEY)).narrative == written.narrative
        assert recall.summaries[KEY].narrative == written.narrative

    async def test_a_late_request_does_not_replace_a_newer_summary(
        self, store: SeedableStore, post_turn: PostTurn, summarizer: SummarizerDouble
    ) -> None:
        """Nor does one that was summarized meanwhile."""
        summarizer.gate = asyncio.Event()
        late = asyncio.create_task(post_turn.process(summary_at(6)))
        await summarizer.reached.wait()
        newer = PostTurn(store, SummarizerDouble(narrative="The newer one."), None, FixedDate())
        assert await newer.process(summary_at(12)) is Outcome.WRITTEN
        summarizer.gate.set()
        assert await late is Outcome.NOT_DUE
        assert await post_turn.process(summary_at(6)) is Outcome.NOT_DUE
        assert (await store.load_summary(KEY)).narrative == "The newer one."

    @pytest.mark.parametrize("failure", [ModelThrottled(), ModelStreamBroken("malformed")])
    @pytest.mark.parametrize("request_", [TITLE, summary_at(2)], ids=["title", "summary"])
    async def test_a_failing_model_leaves_everything_as_it_was_and_can_be_asked_again(
        self,
        store: SeedableStore,
        post_turn: PostTurn,
        summarizer: SummarizerDouble,
        recall: RecallDouble,
        request_: TitleRequest | SummaryRequest,
        failure: Exception,
    ) -> None:
        """The failure is raised, for the retry."""
        summarizer.failure = failure
        with pytest.raises(type(failure)):
            await post_turn.process(request_)
        assert (await store.get_conversation(KEY)).title == DEFAULT_TITLE
        assert (await store.load_summary(KEY)).narrative == ""
        assert recall.summaries == {}
        summarizer.failure = None
        assert await post_turn.process(request_) is Outcome.WRITTEN

    async def test_a_failing_index_is_made_good_without_another_summary(
        self, post_turn: PostTurn, summarizer: SummarizerDouble, recall: RecallDouble
    ) -> None:
        """The retry finds the summary in the store."""
        recall.failure = StorageUnavailable()
        with pytest.raises(StorageUnavailable):
            await post_turn.process(summary_at(2))
        recall.failure = None
        assert await post_turn.process(summary_at(2)) is Outcome.NOT_DUE
        assert recall.summaries[KEY].narrative == "They squat."
        assert summarizer.calls == 1

    async def test_nothing_is_written_about_a_conversation_that_is_gone(
        self, store: SeedableStore, post_turn: PostTurn, summarizer: SummarizerDouble, recall: RecallDouble
    ) -> None:
        """Neither before nor while the model is asked."""
        summarizer.gate = asyncio.Event()
        writing = asyncio.create_task(post_turn.process(summary_at(2)))
        await summarizer.reached.wait()
        await store.delete_conversation(KEY)
        summarizer.gate.set()
        assert await writing is Outcome.CONVERSATION_GONE
        assert await post_turn.process(TITLE) is Outcome.CONVERSATION_GONE
        assert (await store.load_summary(KEY)).narrative == ""
        assert recall.summaries == {}
        with pytest.raises(ConversationNotFound):
            await store.get_conversation(KEY)

    async def test_a_conversation_deleted_while_it_is_indexed_is_removed_from_the_index(
        self, store: SeedableStore, summarizer: SummarizerDouble
    ) -> None:
        """Its deletion may have come too early to remove the record."""

        class Slow(RecallDouble):
            async def remember_summary(self, key: ConversationKey, summary: ConversationSummary) -> None:
                await store.delete_conversation(KEY)
                await super().remember_summary(key, summary)

        recall = Slow()
        post_turn = PostTurn(store, summarizer, recall, FixedDate())
        assert await post_turn.process(summary_at(2)) is Outcome.CONVERSATION_GONE
        assert recall.forgotten == [(KEY.user_id, KEY.conversation_id)]

    async def test_what_a_content_filter_withheld_is_not_read(
        self, store: SeedableStore, post_turn: PostTurn, summarizer: SummarizerDouble
    ) -> None:
        """Neither the reply nor the message it was to."""
        await self.talk(store, 3, "Something forbidden", stop=StopReason.CONTENT_FILTERED)
        await post_turn.process(summary_at(4))
        assert summarizer.read == ["My knee hurts when I squat.", "Well done."]
