from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import MethodNotAllowed, MissingPathParams
from coachstream.conversation.model import ConversationKey
from coachstream.web.routes import MAX_ID_CHARS, Resource, Route, match_path, require_method

CONVERSATIONS = ("users", "u1", "coaches", "c1", "conversations")


@pytest.mark.parametrize(
    ("segments", "route"),
    [
        (CONVERSATIONS, Route(Resource.CONVERSATIONS, "u1", "c1")),
        ((*CONVERSATIONS, "count"), Route(Resource.COUNT, "u1", "c1")),
        ((*CONVERSATIONS, "conv_1"), Route(Resource.CONVERSATION, "u1", "c1", "conv_1")),
        ((*CONVERSATIONS, "conv_1", "stream"), Route(Resource.STREAM, "u1", "c1", "conv_1")),
        ((*CONVERSATIONS, "conv_1", "stream", "r_1"), Route(Resource.RUN, "u1", "c1", "conv_1", "r_1")),
        ((*CONVERSATIONS, "conv_1", "ai-sdk"), Route(Resource.AI_SDK, "u1", "c1", "conv_1")),
        (
            (*CONVERSATIONS, "conv_1", "ai-sdk", "a chat", "stream"),
            Route(Resource.AI_SDK_STREAM, "u1", "c1", "conv_1", chat_id="a chat"),
        ),
        ((*CONVERSATIONS, "conv_1", "ag-ui"), Route(Resource.AG_UI, "u1", "c1", "conv_1")),
        (("users", "u1", "export"), Route(Resource.EXPORT, "u1")),
        (("users", "u1", "data"), Route(Resource.USER_DATA, "u1")),
        ((*CONVERSATIONS, "count", "stream"), Route(Resource.STREAM, "u1", "c1", "count")),
        ((*CONVERSATIONS, "ein Gespräch"), Route(Resource.CONVERSATION, "u1", "c1", "ein Gespräch")),
    ],
)
def test_each_route_is_found_with_its_ids(segments: tuple[str, ...], route: Route) -> None:
    """The route table, as seen by a client."""
    assert match_path(segments) == route
    assert route.key == ConversationKey(route.user_id, route.coach_id, route.conversation_id)


@pytest.mark.parametrize(
    "segments",
    [
        (),
        ("users",),
        ("users", "u1", "invalid", "path"),
        ("users", "u#1", "data"),
        ("users", "u1", "Data"),
        ("users", "u1", "data", "more"),
        CONVERSATIONS[:-1],
        (*CONVERSATIONS, "conv_1", "streams"),
        (*CONVERSATIONS, "conv_1", "stream", "run_1", "more"),
        ("Users", *CONVERSATIONS[1:]),
        (*CONVERSATIONS, "conv#1"),
        (*CONVERSATIONS, "conv\n1"),
        (*CONVERSATIONS, "conv\x00"),
        (*CONVERSATIONS, "undecodable\ufffd"),
        (*CONVERSATIONS, "x" * (MAX_ID_CHARS + 1)),
    ],
)
def test_what_is_not_in_the_table_is_no_route(segments: tuple[str, ...]) -> None:
    """Unknown paths and ids that could reach another item's key get the same error."""
    with pytest.raises(MissingPathParams):
        match_path(segments)


def test_an_id_of_the_greatest_length_is_an_id() -> None:
    """An id exactly at the limit is allowed."""
    assert match_path((*CONVERSATIONS, "x" * MAX_ID_CHARS)).conversation_id == "x" * MAX_ID_CHARS


@given(st.lists(st.text(max_size=20), max_size=9))
def test_any_segments_give_a_route_or_the_one_error(segments: list[str]) -> None:
    """No path makes the router fail in any other way."""
    try:
        route = match_path(segments)
    except MissingPathParams:
        return
    assert route.user_id in segments


def test_the_refusal_of_a_method_names_the_allowed_ones() -> None:
    """A 405 must list the allowed methods."""
    require_method("GET", ("GET", "POST"))
    with pytest.raises(MethodNotAllowed) as refused:
        require_method("DELETE", ("GET", "POST"))
    assert refused.value.allow == ("GET", "POST")
