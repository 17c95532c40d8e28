"""What every store must do with another try at the last exchange of a conversation."""

from __future__ import annotations

import asyncio
import secrets

import msgspec
import pytest

from coachstream.conversation.another_try import MOST_VERSIONS, AnotherTry, TryKind, TryRequest
from coachstream.conversation.errors import (
    CannotContinue,
    ConversationNotFound,
    IdempotencyMismatch,
    MessageWithdrawn,
    NotTheLastExchange,
    QuotaExceeded,
    TurnInProgress,
)
from coachstream.conversation.ids import milliseconds_of, run_id
from coachstream.conversation.model import ConversationKey, Message, StopReason
from coachstream.conversation.quotas import QuotaLimits
from coachstream.conversation.run_log import Opened, Said
from coachstream.conversation.run_store import AlreadyAnswered, ConversationBusy, RunBegun, RunQueued
from contracts.run_queue import WITHDRAWN, enqueue, run_named
from contracts.store_records import (
    AMPLE_CHARS,
    EPOCH,
    KEY,
    NEXT_RUN,
    NOW,
    RUN,
    SeedableStore,
    StoreContract,
    begin,
    conversation,
    ended,
    opened,
    reply_to,
    said,
    store_reply,
    user_message,
)

UNKNOWN_KEY = ConversationKey(KEY.user_id, KEY.coach_id, "conv-2")


def regenerate(reply: Message, key: str = "again-1") -> TryRequest:
    """A request for another reply."""
    return TryRequest(TryKind.REGENERATE, reply.id, key)


def replace(message: Message, key: str = "again-1") -> TryRequest:
    """A request to edit a message."""
    return TryRequest(TryKind.REPLACE, message.id, key)


def go_on(reply: Message, key: str = "again-1") -> TryRequest:
    """A request to continue a reply."""
    return TryRequest(TryKind.CONTINUE, reply.id, key)


def edited(number: int, text: str = "How was it really?", key: str = "again-1") -> Message:
    """The message that replaces another one."""
    return user_message(number, text, client_id=key, streamed=True)


async def begin_try(
    store: SeedableStore, request: TryRequest, message: Message | None = None, run: str = NEXT_RUN
) -> RunBegun:
    """Begin another try in a conversation that is free."""
    begun = await store.begin_try(KEY, request, message, run, opened())
    assert isinstance(begun, RunBegun)
    return begun


def reply_of(
    begun: RunBegun, content: str = "Better.", *, run: str = NEXT_RUN, stop: StopReason = StopReason.END_TURN
) -> Message:
    """The reply of a run, under the id that it gets."""
    reply = reply_to(begun.user_message, 9, content, stop=stop)
    new_id = f"msg_{begun.at + 1:013d}_{'a' * 9}_assistant"
    continued = begun.another_try.continued_id if begun.another_try else None
    versions = begun.another_try.versions if begun.another_try else 0
    metadata = msgspec.structs.replace(reply.metadata, run_id=run, versions=versions)
    return msgspec.structs.replace(reply, id=continued or new_id, metadata=metadata)


async def finish(store: SeedableStore, begun: RunBegun, reply: Message, run: str = NEXT_RUN) -> Message:
    """Finish a try, and return its reply as it is stored."""
    number = 1 + bool(begun.said)
    end = ended(number, reply)
    assert await store.finish_run(KEY, run, end, reply, None, begun.another_try) is None
    stored = await store.load_message(KEY, reply.id)
    assert stored is not None
    return stored


async def try_again(
    store: SeedableStore, request: TryRequest, content: str, message: Message | None = None
) -> Message:
    """Do a whole try, and return its reply."""
    run = run_id(NOW, secrets.randbelow)
    begun = await begin_try(store, request, message, run)
    return await finish(store, begun, reply_of(begun, content, run=run), run)


def versioned(message: Message, versions: int) -> Message:
    """The message as it is stored when its exchange has so many versions."""
    metadata = msgspec.structs.replace(message.metadata, versions=versions)
    return msgspec.structs.replace(message, metadata=metadata)


class AnotherTryContract(StoreContract):
    """Another try: one chosen version, none lost, none twice, whatever fails."""

    @pytest.fixture
    async def exchange(self, store: SeedableStore, begun: None) -> tuple[Message, Message]:  # noqa: ARG002
        """Store a first exchange, and the one that is tried again."""
        first = user_message(1, "Hello")
        await store_reply(store, first, reply_to(first, 2, "Hi"))
        message = user_message(5, client_id="c-1")
        reply = reply_to(message, 7)
        await store_reply(store, message, reply)
        return message, reply

    async def lines(self, store: SeedableStore) -> list[Message]:
        """The chosen line without the first exchange; every reader finds the same."""
        messages = list(await store.load_messages(KEY))
        history = await store.load_history(KEY, limit=50, budget_chars=AMPLE_CHARS)
        assert list(history) == list(await store.load_newest(KEY, limit=50)) == messages
        assert (await store.get_conversation(KEY)).total_messages == len(messages)
        assert [message.content for message in messages[:2]] == ["Hello", "Hi"]
        return messages[2:]

    async def test_a_regenerated_reply_takes_the_place_of_the_first_one_when_it_is_stored(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """Until then the conversation is unchanged; afterwards the first one is an older version."""
        message, reply = exchange
        begun = await begin_try(store, regenerate(reply))
        another = AnotherTry(TryKind.REGENERATE, "again-1", message.id, reply.id, versions=2)
        assert (begun.user_message, begun.is_first_attempt, begun.said) == (message, False, "")
        assert begun.another_try == another
        [first] = await store.read_log(KEY, NEXT_RUN)
        assert first.content == Opened(message.id, False, at=begun.at, another_try=another)
        assert (await store.read_queue(KEY)).run_id == NEXT_RUN
        assert await self.lines(store) == [message, reply]

        second = await finish(store, begun, reply_of(begun))
        assert second == versioned(reply_of(begun), 2) == reply_of(begun)
        assert await self.lines(store) == [message, second]
        assert (await store.read_queue(KEY)).run_id is None
        assert await store.load_message(KEY, reply.id) == reply
        for name in (message.id, second.id):
            versions = [
                (each.user_message, each.reply, each.is_chosen)
                for each in await store.load_versions(KEY, name)
            ]
            assert versions == [(message, reply, False), (message, second, True)]

    async def test_an_edited_message_and_its_reply_take_the_place_of_the_first_ones(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """The edited message is stored when the run begins, but not in the conversation."""
        message, reply = exchange
        begun = await begin_try(store, replace(message), edited(6))
        another = AnotherTry(TryKind.REPLACE, "again-1", message.id, reply.id, versions=2)
        assert begun.another_try == another
        assert begun.user_message.content == "How was it really?"
        assert begun.user_message.id > reply.id
        assert await store.load_message(KEY, begun.user_message.id) == begun.user_message
        assert await self.lines(store) == [message, reply]
        assert [each.reply for each in await store.load_versions(KEY, reply.id)] == [reply]

        second = await finish(store, begun, reply_of(begun))
        assert await self.lines(store) == [begun.user_message, second]
        assert second.metadata.versions == 2
        versions = [
            (each.user_message, each.reply, each.is_chosen)
            for each in await store.load_versions(KEY, second.id)
        ]
        assert versions == [(message, reply, False), (begun.user_message, second, True)]
        assert await store.find_recent_message(KEY, message.content, since=EPOCH) is None
        third = user_message(100)
        await store_reply(store, third, reply_to(third, 101))
        assert [each.id for each in await self.lines(store)][2:] == [third.id, reply_to(third, 101).id]
        assert [each.reply for each in await store.load_versions(KEY, second.id)] == [reply, second]

    async def test_a_message_without_a_reply_can_be_edited(self, store: SeedableStore) -> None:
        """Also one whose reply was interrupted, which stays with it."""
        first = user_message(1, "Hello")
        await store_reply(store, first, reply_to(first, 2, "Hi"))
        message = user_message(5)
        await begin(store, message)
        await store.finish_run(KEY, RUN, ended(1), None)
        second = await try_again(store, replace(message), "Fine", edited(6))
        [changed, _] = await self.lines(store)
        assert [each.user_message for each in await store.load_versions(KEY, second.id)] == [message, changed]
        assert await self.lines(store) == [changed, second]

    @pytest.mark.parametrize("stop", [StopReason.STOPPED, StopReason.MAX_TOKENS, StopReason.INTERRUPTED])
    async def test_a_reply_that_is_continued_keeps_its_id_and_place(
        self,
        store: SeedableStore,
        exchange: tuple[Message, Message],  # noqa: ARG002
        stop: StopReason,
    ) -> None:
        """The log of the run begins with its text; it has no older version."""
        message = user_message(10, "And?")
        short = reply_to(message, 12, "Well", stop=stop)
        await store_reply(store, message, short)
        begun = await begin_try(store, go_on(short))
        assert begun.said == "Well"
        entries = await store.read_log(KEY, NEXT_RUN)
        assert [each.content for each in entries[1:]] == [Said("Well", 0)]
        assert (await self.lines(store))[2:] == [message, short]
        whole = await finish(store, begun, reply_of(begun, "Well done."))
        assert whole.id == short.id
        assert whole == reply_of(begun, "Well done.")
        assert (await self.lines(store))[2:] == [message, whole]
        [only] = await store.load_versions(KEY, whole.id)
        assert (only.reply, only.is_chosen) == (whole, True)
        again = await store.begin_run(KEY, message, RUN, opened())
        assert again == AlreadyAnswered(message, whole)

    async def test_a_reply_that_is_whole_cannot_be_continued(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """Nothing is written."""
        with pytest.raises(CannotContinue):
            await store.begin_try(KEY, go_on(exchange[1]), None, NEXT_RUN, opened())
        assert (await store.read_queue(KEY)).run_id is None
        assert list(await store.read_log(KEY, NEXT_RUN)) == []

    @pytest.mark.parametrize("kind", TryKind)
    async def test_a_try_without_a_reply_changes_nothing(
        self,
        store: SeedableStore,
        exchange: tuple[Message, Message],  # noqa: ARG002
        kind: TryKind,
    ) -> None:
        """The same request begins another run, and the next message comes after all ids so far."""
        message = user_message(10, "And?", client_id="c-2")
        short = reply_to(message, 12, "Well", stop=StopReason.STOPPED)
        await store_reply(store, message, short)
        named = message if kind is TryKind.REPLACE else short
        request = TryRequest(kind, named.id, "again-1")
        text = edited(13) if kind is TryKind.REPLACE else None
        begun = await begin_try(store, request, text)
        number = 1 + bool(begun.said)
        assert await store.finish_run(KEY, NEXT_RUN, ended(number), None, None, begun.another_try) is None
        assert (await self.lines(store))[2:] == [message, short]
        assert [each.reply for each in await store.load_versions(KEY, short.id)] == [short]
        again = await begin_try(store, request, text and edited(14), RUN)
        assert again.user_message == begun.user_message
        assert again.at >= begun.at
        second = await finish(store, again, reply_of(again, "Well done.", run=RUN), RUN)
        assert (await self.lines(store))[2:] == [again.user_message, second]
        last = await begin(store, user_message(11), run_id(NOW, secrets.randbelow))
        assert last.user_message.id > second.id

    async def test_only_the_last_exchange_can_be_tried_again(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """Neither an earlier one nor one that another device has replaced or gone on from."""
        message, reply = exchange
        earlier = list(await store.load_messages(KEY))[:2]
        second = await try_again(store, regenerate(reply), "Better")
        gone_on = user_message(200)

        async def refused(*requests: TryRequest) -> None:
            before = await store.load_messages(KEY)
            for number, given in enumerate(requests):
                request = msgspec.structs.replace(given, client_message_id=f"refused-{number}")
                text = edited(300, key=request.client_message_id)
                with pytest.raises(NotTheLastExchange):
                    await store.begin_try(
                        KEY, request, text if request.kind is TryKind.REPLACE else None, RUN, opened()
                    )
            assert await store.load_messages(KEY) == before
            assert (await store.read_queue(KEY)).run_id is None
            assert list(await store.read_log(KEY, RUN)) == []

        await refused(
            *(regenerate(earlier[1]), replace(earlier[0]), go_on(earlier[1]), regenerate(reply)),
            *(regenerate(message), replace(second), go_on(reply), regenerate(user_message(900))),
        )
        await store_reply(store, gone_on, reply_to(gone_on, 201))
        await refused(regenerate(second), replace(message), go_on(second))

    async def test_an_unknown_conversation_has_no_exchange(self, store: SeedableStore) -> None:
        """Nor has an empty one."""
        request = regenerate(reply_to(user_message(1), 2))
        with pytest.raises(NotTheLastExchange):
            await store.begin_try(KEY, request, None, RUN, opened())
        with pytest.raises(ConversationNotFound):
            await store.begin_try(UNKNOWN_KEY, request, None, RUN, opened())
        assert list(await store.load_versions(UNKNOWN_KEY, request.message_id)) == []
        assert list(await store.load_versions(KEY, request.message_id)) == []

    @pytest.mark.parametrize("kind", [TryKind.REGENERATE, TryKind.REPLACE])
    async def test_the_same_try_is_not_made_twice(
        self, store: SeedableStore, exchange: tuple[Message, Message], kind: TryKind
    ) -> None:
        """Its key finds its run while that is unfinished, and then its reply, even in an older version."""
        message, reply = exchange
        request = TryRequest(kind, (message if kind is TryKind.REPLACE else reply).id, "again-1")
        text = edited(6) if kind is TryKind.REPLACE else None
        begun = await begin_try(store, request, text)
        for _ in range(2):
            busy = await store.begin_try(KEY, request, text, RUN, opened())
            assert busy == ConversationBusy(NEXT_RUN, begun.user_message)
        second = await finish(store, begun, reply_of(begun))
        found = AlreadyAnswered(begun.user_message, second)
        assert await store.begin_try(KEY, request, text, RUN, opened()) == found
        if text is not None:
            assert await store.begin_run(KEY, text, RUN, opened()) == found
        third = await try_again(store, regenerate(second, "again-2"), "Best")
        older = await store.begin_try(KEY, request, text, RUN, opened())
        assert isinstance(older, AlreadyAnswered)
        assert older.reply.id == second.id
        assert await self.lines(store) == [begun.user_message, third]
        assert (await store.read_queue(KEY)).run_id is None

    async def test_the_key_of_a_try_belongs_to_it_alone(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """It is refused for another request, another text and a message, and so is a message's for a try."""
        message, reply = exchange
        request = replace(message)
        begun = await begin_try(store, request, edited(6))
        await store.finish_run(KEY, NEXT_RUN, ended(1), None, None, begun.another_try)
        for other, text in ((regenerate(reply), None), (request, edited(6, "Other")), (go_on(reply), None)):
            with pytest.raises(IdempotencyMismatch):
                await store.begin_try(KEY, other, text, RUN, opened())
        with pytest.raises(IdempotencyMismatch):
            await store.begin_run(KEY, edited(6), RUN, opened())
        with pytest.raises(IdempotencyMismatch):
            await store.begin_try(KEY, regenerate(reply, "c-1"), None, RUN, opened())
        assert await self.lines(store) == [message, reply]
        assert (await store.read_queue(KEY)).run_id is None

    @pytest.mark.parametrize("kind", [TryKind.REGENERATE, TryKind.REPLACE])
    @pytest.mark.parametrize("next_kind", [TryKind.REGENERATE, TryKind.REPLACE])
    async def test_versions_stay_with_their_exchange_when_an_older_one_was_chosen(
        self, store: SeedableStore, kind: TryKind, next_kind: TryKind, exchange: tuple[Message, Message]
    ) -> None:
        """Then the newer ones have ids between those of two exchanges in the line."""
        message, reply = exchange
        is_edited = kind is TryKind.REPLACE
        request = replace(message) if is_edited else regenerate(reply)
        second = await try_again(store, request, "Better.", edited(6) if is_edited else None)
        await store.choose_version(KEY, second.id, reply.id)
        asked = user_message(50, "And now?", client_id="c-50")
        told = reply_to(asked, 52, "Now.")
        await store_reply(store, asked, told)
        is_edited = next_kind is TryKind.REPLACE
        request = replace(asked, "again-2") if is_edited else regenerate(told, "again-2")
        text = edited(60, "And then?", key="again-2") if is_edited else None
        third = await try_again(store, request, "Then.", text)
        assert third.metadata.versions == 2
        for shown, contents in ((third, ["Now.", "Then."]), (reply, [reply.content, "Better."])):
            found = await store.load_versions(KEY, shown.id)
            assert [each.reply.content for each in found if each.reply] == contents
            assert len(found) == 2

    @pytest.mark.parametrize("kind", [TryKind.REGENERATE, TryKind.REPLACE])
    async def test_the_oldest_of_as_many_versions_as_are_kept_can_be_tried_again(
        self, store: SeedableStore, kind: TryKind, exchange: tuple[Message, Message]
    ) -> None:
        """It is the one that gives way, and the one that is dropped."""
        message, reply = exchange
        newest = reply
        for number in range(1, MOST_VERSIONS):
            newest = await try_again(store, regenerate(newest, f"again-{number}"), f"Version {number}.")
        await store.choose_version(KEY, newest.id, reply.id)
        is_edited = kind is TryKind.REPLACE
        request = replace(message, "last") if is_edited else regenerate(reply, "last")
        last = await try_again(store, request, "Last.", edited(60, key="last") if is_edited else None)
        found = await store.load_versions(KEY, last.id)
        contents = [f"Version {number}." for number in range(1, MOST_VERSIONS)]
        assert [each.reply.content for each in found if each.reply] == [*contents, "Last."]
        assert [each.content for each in await self.lines(store)][1:] == ["Last."]

    async def test_a_message_that_was_queued_and_then_replaced_gets_no_run(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """It is not in the line any more, as if it was withdrawn; the next message can begin its run."""
        asked = user_message(20, "And now?", client_id="c-20")
        begun = await begin(store, asked)
        assert await store.finish_run(KEY, RUN, ended(1), None) is None
        begun = await begin_try(store, replace(begun.user_message), edited(30))
        queued = await store.enqueue_run(KEY, asked, run_named("20"), behind=NEXT_RUN, most=3)
        assert isinstance(queued, RunQueued)
        await finish(store, begun, reply_of(begun))
        with pytest.raises(MessageWithdrawn):
            await store.begin_queued(KEY, queued.run.run_id, opened())
        assert await store.leave_queue(KEY, queued.run.run_id, WITHDRAWN, is_withdrawn=True)
        assert (await store.read_queue(KEY)).first_run_id is None
        assert len(await self.lines(store)) == len(exchange) + 2

    async def test_the_key_of_a_withdrawn_message_is_none_of_a_try(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """A retry of that message may still arrive."""
        begun = await begin(store, user_message(20, "And now?"))
        queued = await enqueue(store, 30)
        assert await store.leave_queue(KEY, queued.run.run_id, WITHDRAWN, is_withdrawn=True)
        reply = reply_of(begun, "Now.", run=RUN)
        assert await store.finish_run(KEY, RUN, ended(1, reply), reply) is None
        key = queued.user_message.metadata.client_message_id
        assert key is not None
        with pytest.raises(IdempotencyMismatch):
            await store.begin_try(KEY, regenerate(reply, key), None, NEXT_RUN, opened())
        assert len(exchange) == 2

    async def test_an_interrupted_version_cannot_be_chosen(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """Its message could be sent again like any other, and would lose its versions."""
        message, reply = exchange
        begun = await begin_try(store, regenerate(reply))
        partial = await finish(store, begun, reply_of(begun, "Bet", stop=StopReason.INTERRUPTED))
        run = run_named("5")
        begun = await begin_try(store, regenerate(partial, "again-2"), run=run)
        second = await finish(store, begun, reply_of(begun, run=run), run)
        with pytest.raises(NotTheLastExchange):
            await store.choose_version(KEY, second.id, partial.id)
        assert await self.lines(store) == [message, second]

    async def test_a_try_does_not_overtake_a_queue(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """Its exchange is not the last one any more; nor can another version be chosen."""
        message, reply = exchange
        other = await try_again(store, regenerate(reply), "Better.")
        begun = await begin(store, user_message(20, "And now?"))
        queued = await enqueue(store, 30)
        end = reply_of(begun, "Now.", run=RUN)
        assert await store.finish_run(KEY, RUN, ended(1, end), end) is None
        before = await store.load_messages(KEY)
        for request, text in (
            (regenerate(end, "again-2"), None),
            (regenerate(other, "again-2"), None),
            (replace(queued.user_message, "again-2"), edited(40, key="again-2")),
        ):
            busy = await store.begin_try(KEY, request, text, NEXT_RUN, opened())
            assert busy == ConversationBusy(queued.run.run_id, None, (queued.run,))
        with pytest.raises(TurnInProgress):
            await store.choose_version(KEY, other.id, reply.id)
        assert await store.load_messages(KEY) == before
        assert message in before

    @pytest.mark.parametrize("kind", TryKind)
    async def test_a_message_queued_behind_a_try_comes_after_its_reply(
        self, store: SeedableStore, kind: TryKind, exchange: tuple[Message, Message]
    ) -> None:
        """Whatever its clock says, and whatever is tried again; the try's version is the chosen one."""
        message, reply = exchange
        if kind is TryKind.CONTINUE:
            message = user_message(9, "Once more", client_id="c-9")
            reply = reply_to(message, 11, "Half", stop=StopReason.STOPPED)
            await store_reply(store, message, reply)
        named = message if kind is TryKind.REPLACE else reply
        text = edited(3) if kind is TryKind.REPLACE else None
        begun = await begin_try(store, TryRequest(kind, named.id, "again-1"), text)
        queued = await enqueue(store, 2, behind=NEXT_RUN)
        content = f"{begun.said}Better."
        second = await finish(store, begun, reply_of(begun, content))
        begun_next = await store.begin_queued(KEY, queued.run.run_id, opened())
        assert begun_next is not None
        last = reply_of(begun_next, "Later.", run=queued.run.run_id)
        assert await store.finish_run(KEY, queued.run.run_id, ended(1, last), last) is None
        texts = [each.content for each in await self.lines(store)]
        assert texts[-4:] == [begun.user_message.content, content, queued.user_message.content, "Later."]
        versions = await store.load_versions(KEY, second.id)
        assert [each.is_chosen for each in versions] == (
            [True] if kind is TryKind.CONTINUE else [False, True]
        )

    async def test_a_try_during_an_unfinished_run_finds_the_conversation_busy(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """Also if that run is another try; a message that is sent meanwhile finds the try's."""
        message, reply = exchange
        begun = await begin_try(
            store, TryRequest(TryKind.REGENERATE, "c-1", "again-1")
        )  # by its message's key
        for request in (regenerate(reply, "again-2"), go_on(reply, "again-3")):
            busy = await store.begin_try(KEY, request, None, RUN, opened())
            assert busy == ConversationBusy(NEXT_RUN, None)
        sent = await store.begin_run(KEY, user_message(8, client_id="c-9"), RUN, opened())
        assert sent == ConversationBusy(NEXT_RUN, None)
        waiting = await store.save_waiting_message(KEY, user_message(begun.at + 5, client_id="c-9"), NEXT_RUN)
        assert waiting is not None
        second = await finish(store, begun, reply_of(begun))
        assert await self.lines(store) == [message, second, waiting]
        with pytest.raises(NotTheLastExchange):
            await store.begin_try(KEY, regenerate(second, "again-4"), None, RUN, opened())

    async def test_of_tries_and_messages_at_the_same_time_one_begins(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """All others find it busy."""
        _, reply = exchange
        runs = [run_id(NOW, secrets.randbelow) for _ in range(6)]
        results = await asyncio.gather(
            *(
                store.begin_try(KEY, regenerate(reply, f"again-{number}"), None, run, opened())
                if number % 2
                else store.begin_run(KEY, user_message(20 + number, client_id=f"s-{number}"), run, opened())
                for number, run in enumerate(runs)
            ),
            return_exceptions=True,
        )
        begun = [each for each in results if isinstance(each, RunBegun)]
        assert len(begun) == 1
        busy = ConversationBusy(runs[results.index(begun[0])], None)
        assert [each for each in results if each is not begun[0]] == [busy] * 5

    async def test_a_late_retry_of_a_replaced_message_gets_its_own_reply_or_none(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """It does not bring the message back."""
        message, reply = exchange
        second = await try_again(store, replace(message), "Better", edited(6))
        again = await store.begin_run(KEY, user_message(50, client_id="c-1"), RUN, opened())
        assert again == AlreadyAnswered(message, reply)
        follow = user_message(60, "Next", client_id="c-3")
        await begin(store, follow, RUN)
        await store.finish_run(KEY, RUN, ended(1), None)
        third = await try_again(store, replace(follow, "again-2"), "Fine", edited(70, "Then?", "again-2"))
        with pytest.raises(NotTheLastExchange):
            await store.begin_run(KEY, user_message(80, "Next", client_id="c-3"), RUN, opened())
        line = await self.lines(store)
        assert [line[1], line[3]] == [second, third]
        assert len(line) == 4

    async def test_a_retry_of_a_regenerated_message_gets_the_chosen_reply(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """The message itself stays."""
        message, reply = exchange
        second = await try_again(store, regenerate(reply), "Better")
        again = await store.begin_run(KEY, user_message(50, client_id="c-1"), RUN, opened())
        assert again == AlreadyAnswered(message, second)

    async def test_an_end_whose_response_was_lost_can_be_repeated(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """The version is made once; an end by another process finds it."""
        message, _ = exchange
        begun = await begin_try(store, replace(message), edited(6))
        second = reply_of(begun)
        for _ in range(3):
            assert (
                await store.finish_run(KEY, NEXT_RUN, ended(1, second), second, None, begun.another_try)
                is None
            )
        late = ended(1, writer="late")
        assert await store.finish_run(KEY, NEXT_RUN, late, None, None, begun.another_try) == ended(1, second)
        assert await self.lines(store) == [begun.user_message, versioned(second, 2)]
        assert len(await store.load_versions(KEY, second.id)) == 2

    async def test_a_bounded_number_of_versions_is_kept(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """The oldest is deleted, with its message if no other version has that."""
        message, reply = exchange
        last = await try_again(store, replace(message, "edit"), "0", edited(6, "Edited", "edit"))
        for number in range(1, MOST_VERSIONS + 2):
            last = await try_again(store, regenerate(last, f"again-{number}"), str(number))
        versions = await store.load_versions(KEY, last.id)
        contents = [each.reply.content for each in versions if each.reply is not None]
        assert contents == [str(number) for number in range(2, MOST_VERSIONS + 2)]
        assert last.metadata.versions == len(versions) == MOST_VERSIONS
        assert [each.is_chosen for each in versions] == [False] * (MOST_VERSIONS - 1) + [True]
        assert await store.load_message(KEY, message.id) is None
        assert await store.load_message(KEY, reply.id) is None
        assert len(await self.lines(store)) == 2

    async def test_a_workout_that_was_handed_off_stays_marked(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """In an older version, and on the message that replaces it."""
        message, _ = exchange
        await store.mark_handed_off(KEY, message.id)
        begun = await begin_try(store, replace(message), edited(6))
        assert begun.user_message.metadata.is_handed_off
        await finish(store, begun, reply_of(begun))
        for name in (message.id, begun.user_message.id):
            stored = await store.load_message(KEY, name)
            assert stored is not None
            assert stored.metadata.is_handed_off

    async def test_a_workout_of_an_edited_message_is_marked_before_its_reply_is_stored(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """That is when it is handed off; the mark stays."""
        begun = await begin_try(store, replace(exchange[0]), edited(6))
        await store.mark_handed_off(KEY, begun.user_message.id)
        second = await finish(store, begun, reply_of(begun))
        [message, _] = await self.lines(store)
        assert message.metadata.is_handed_off
        again = await begin_try(store, regenerate(second, "again-2"), run=RUN)
        assert again.user_message.metadata.is_handed_off

    async def test_a_try_takes_from_the_quotas(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """Where nothing is left, it does not begin."""
        quotas = QuotaLimits(turns_per_minute=1)
        request = regenerate(exchange[1])
        at_once = msgspec.structs.replace(opened(), content=Opened("", at=milliseconds_of(NOW)))
        begun = await store.begin_try(KEY, request, None, NEXT_RUN, at_once, quotas)
        assert isinstance(begun, RunBegun)
        await finish(store, begun, reply_of(begun))
        again = regenerate(reply_of(begun), "again-2")
        with pytest.raises(QuotaExceeded):
            await store.begin_try(KEY, again, None, RUN, at_once, quotas)
        assert (await store.read_queue(KEY)).run_id is None

    async def test_an_older_version_can_be_chosen_again(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """Every reader finds it in the line; the other version is kept, and can be chosen in turn."""
        message, reply = exchange
        second = await try_again(store, replace(message), "Better", edited(6))
        [changed, _] = await self.lines(store)
        for _ in range(2):
            await store.choose_version(KEY, second.id, reply.id)
            assert await self.lines(store) == [message, versioned(reply, 2)]
            again = await store.begin_run(KEY, user_message(50, client_id="c-1"), RUN, opened())
            assert again == AlreadyAnswered(message, versioned(reply, 2))
            assert [each.is_chosen for each in await store.load_versions(KEY, reply.id)] == [True, False]
            await store.choose_version(KEY, reply.id, second.id)
            assert await self.lines(store) == [changed, second]
            await store.choose_version(KEY, second.id, second.id)
            assert [each.is_chosen for each in await store.load_versions(KEY, second.id)] == [False, True]
        third = await try_again(store, regenerate(second, "again-2"), "Best")
        assert third.metadata.versions == 3
        await store.choose_version(KEY, third.id, second.id)
        assert await self.lines(store) == [changed, versioned(second, 3)]
        follow = await begin(store, user_message(60, "Next"), RUN)
        assert follow.user_message.id > third.id
        with pytest.raises(TurnInProgress):
            await store.choose_version(KEY, second.id, third.id)
        await store.finish_run(KEY, RUN, ended(1), None)
        with pytest.raises(NotTheLastExchange):
            await store.choose_version(KEY, second.id, third.id)

    async def test_what_is_no_version_cannot_be_chosen(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """Nor by the name of another reply than the last one."""
        message, reply = exchange
        second = await try_again(store, regenerate(reply), "Better")
        pending = await begin_try(store, replace(message, "again-2"), edited(6, key="again-2"), RUN)
        await store.finish_run(KEY, RUN, ended(1), None, None, pending.another_try)
        hello, hi = list(await store.load_messages(KEY))[:2]
        for chosen, version in (
            *((second.id, each) for each in (hi.id, hello.id, message.id, pending.user_message.id, "x")),
            *((each, reply.id) for each in (reply.id, hi.id, message.id, "x")),
        ):
            with pytest.raises(NotTheLastExchange):
                await store.choose_version(KEY, chosen, version)
        with pytest.raises(ConversationNotFound):
            await store.choose_version(UNKNOWN_KEY, second.id, reply.id)
        assert await self.lines(store) == [message, second]

    async def test_a_run_that_begins_and_a_choice_exclude_each_other(
        self,
        store: SeedableStore,
        exchange: tuple[Message, Message],  # noqa: ARG002
    ) -> None:
        """A try never replaces a reply that is not the chosen one."""
        for number in range(10):
            newest = (await self.lines(store))[-1]
            last = await try_again(store, regenerate(newest, f"more-{number}"), f"{number}")
            older = (await store.load_versions(KEY, last.id))[0].reply
            assert older is not None
            run = run_id(NOW, secrets.randbelow)
            begun, chosen = await asyncio.gather(
                store.begin_try(KEY, regenerate(last, f"race-{number}"), None, run, opened()),
                store.choose_version(KEY, last.id, older.id),
                return_exceptions=True,
            )
            if isinstance(begun, RunBegun):
                assert isinstance(chosen, TurnInProgress)
                assert (await self.lines(store))[-1].id == last.id
                await store.finish_run(KEY, run, ended(1), None, None, begun.another_try)
            else:
                assert (chosen, type(begun)) == (None, NotTheLastExchange)
                assert (await self.lines(store))[-1].id == older.id

    async def test_versions_are_deleted_with_their_conversation(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """So are edits whose attempt failed, and the keys; a run that is unfinished stores nothing more."""
        message, reply = exchange
        second = await try_again(store, regenerate(reply), "Better")
        begun = await begin_try(store, replace(message, "again-2"), edited(6, key="again-2"), RUN)
        await store.append(KEY, RUN, said(1))
        await store.delete_conversation(KEY)
        with pytest.raises(ConversationNotFound):
            await store.finish_run(
                KEY, RUN, ended(2, reply_of(begun)), reply_of(begun), None, begun.another_try
            )
        await store.create_conversation(conversation())
        assert list(await store.load_messages(KEY)) == []
        for each in (reply, second, begun.user_message):
            assert await store.load_message(KEY, each.id) is None
            assert list(await store.load_versions(KEY, each.id)) == []
        counts = await store.count_records(KEY.user_id)
        assert not {"coachVersion", "coachMessageClaim"} & counts.keys()

    async def test_versions_are_exported(
        self, store: SeedableStore, exchange: tuple[Message, Message]
    ) -> None:
        """All that the user has written and been told is in their data."""
        message, reply = exchange
        await try_again(store, replace(message), "Better", edited(6))
        page = await store.read_records(KEY.user_id)
        older = [str(each.data) for each in page.records if each.kind == "coachVersion"]
        assert len(older) == 2
        assert sum(message.content in each for each in older) == 1
        assert sum(reply.content in each for each in older) == 1
