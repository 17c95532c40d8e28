"""Whatever a model sends and however it ends, the guarantees of a turn hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import ErrorCode, ModelError, ModelRejected, ModelThrottled
from coachstream.conversation.events import (
    Attached,
    Chunk,
    Completed,
    Failed,
    GuardrailWarning,
    Reset,
    Started,
)
from coachstream.conversation.model import Role, StopReason
from coachstream.conversation.ports import ModelEvent, ModelStop
from coachstream.conversation.visible_text import is_blank
from support.doubles import ScriptedModel
from support.turns import KEY, Stage

DELTAS = st.lists(st.text(st.characters(exclude_categories=()), max_size=6), max_size=12)
ENDINGS: st.SearchStrategy[ModelEvent | Exception | None] = st.one_of(
    st.none(),
    st.sampled_from(StopReason).map(ModelStop),
    st.sampled_from([ModelThrottled(), ModelRejected(), ValueError("a defect"), OSError("a network")]),
)


@given(DELTAS, ENDINGS)
async def test_what_was_streamed_is_what_is_stored(
    deltas: list[str], ending: ModelEvent | Exception | None
) -> None:
    """One start, one ending, no empty chunk, only valid UTF-8; the stored reply is exactly the chunks."""
    stage = Stage(ScriptedModel(*deltas, *([] if ending is None else [ending]), ""))
    start, attached, *said, last = await stage.run()
    assert start == Started()
    assert isinstance(attached, Attached)
    is_flagged = isinstance(last, Completed) and last.reply.is_flagged
    if is_flagged:
        *said, warning = said
        assert warning == GuardrailWarning()
    streamed = ""
    for event in said:
        if isinstance(event, Reset):
            streamed = ""
        else:
            assert isinstance(event, Chunk)
            assert event.content
            assert event.offset == len(streamed.encode("utf-16-le")) // 2
            streamed += event.content
    streamed.encode()
    replies = [message for message in stage.store.messages[KEY] if message.role is Role.ASSISTANT]
    is_filtered = isinstance(last, Failed) and last.code is ErrorCode.CONTENT_FILTERED
    assert [reply.content for reply in replies] == ([streamed] if streamed or is_filtered else [])
    assert stage.store.claims == set()
    match last:
        case Completed():
            assert replies == [last.reply]
            assert isinstance(ending, ModelStop)
            assert last.stop_reason is last.reply.metadata.stop_reason is ending.reason
        case Failed():
            shown = [reply for reply in replies if reply.content]
            assert shown == ([] if last.partial_reply is None else [last.partial_reply])
            expected = StopReason.CONTENT_FILTERED if is_filtered else StopReason.INTERRUPTED
            assert all(reply.metadata.stop_reason is expected for reply in replies)
            if isinstance(ending, ModelError):
                assert last.code is ending.code
            elif isinstance(ending, Exception):
                assert last.code is ErrorCode.PROCESSING_ERROR
        case _:
            raise AssertionError(last)
    whole = "".join(deltas)
    if not any("\ud800" <= character <= "\udfff" for character in whole):
        assert streamed == ("" if is_blank(whole) else whole)
