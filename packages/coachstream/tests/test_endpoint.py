from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.endpoint import normalized_origin


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://app.example.com/", "https://app.example.com"),
        ("HTTPS://App.Example.com", "https://app.example.com"),
        ("https://app.example.com:443/", "https://app.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("https://localhost:80", "https://localhost:80"),
        ("http://127.0.0.1:3000/", "http://127.0.0.1:3000"),
        ("http://[0:0::1]:8080", "http://[::1]:8080"),
        ("https://Bücher.example", "https://xn--bcher-kva.example"),
        (" https://app.example.com ", "https://app.example.com"),
    ],
)
def test_an_origin_is_what_a_browser_would_send(written: str, sent: str) -> None:
    """A trailing slash, capitals or a default port would never match."""
    assert normalized_origin(written) == sent


@pytest.mark.parametrize(
    "written",
    [
        "",
        "null",
        "*",
        "app.example.com",
        "localhost:3000",
        "ftp://app.example.com",
        "https://",
        "https://app.example.com/coach",
        "https://app.example.com?x=1",
        "https://app.example.com#x",
        "https://sam@app.example.com",
        "https://*.example.com",
        "https://app.example.com:99999",
        "https://app.example.com:port",
        "https://app example.com",
        "https://-.example",
        "https://[::1",
        "https://[::x]",
    ],
)
def test_an_invalid_origin_is_refused_with_an_example(written: str) -> None:
    """The error quotes the input and shows a valid origin."""
    with pytest.raises(ValueError, match="is not an origin: that is scheme, host and port") as refused:
        normalized_origin(written)
    assert repr(written) in str(refused.value)
    assert "https://app.example.com" in str(refused.value)


@given(text=st.text(max_size=60) | st.from_regex(r"https?://[\w.:\[\]/-]{0,30}"))
def test_a_normalized_origin_stays_as_it_is(text: str) -> None:
    """Any text is either refused with a ValueError or normalized idempotently."""
    try:
        origin = normalized_origin(text)
    except ValueError:
        return
    assert normalized_origin(origin) == origin
