from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import InvalidTokenFormat, MissingAuthHeader
from coachstream.web.authentication import bearer_token


@pytest.mark.parametrize("header", ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c ", "\tBearer\ta.b.c"])
def test_the_scheme_is_read_in_any_case(header: str) -> None:
    """RFC 9110, section 11.1: scheme names are case-insensitive."""
    assert bearer_token(header) == "a.b.c"


@pytest.mark.parametrize("header", [None, "", "  "])
def test_no_header_and_an_empty_one_are_the_same(header: str | None) -> None:
    """There is no token to verify."""
    with pytest.raises(MissingAuthHeader):
        bearer_token(header)


@pytest.mark.parametrize("header", ["Bearer", "a.b.c", "Basic dTpw", "Bearer a b", "Bearera.b.c"])
def test_anything_but_one_bearer_token_is_a_bad_format(header: str) -> None:
    """A bare token is refused as well: the header has exactly one form."""
    with pytest.raises(InvalidTokenFormat):
        bearer_token(header)


@given(st.text(max_size=60))
def test_any_header_gives_a_token_or_a_typed_refusal(header: str) -> None:
    """No header value fails in any other way."""
    try:
        token = bearer_token(header)
    except (MissingAuthHeader, InvalidTokenFormat):
        return
    assert token
    assert len(token.split()) == 1
