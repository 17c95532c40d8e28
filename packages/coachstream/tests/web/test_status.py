from __future__ import annotations

from collections.abc import Iterator

import pytest

from coachstream.conversation import errors
from coachstream.conversation.errors import CoachStreamError, ErrorCode, MethodNotAllowed
from coachstream.conversation.model import QuotaLeft
from coachstream.web.frames import error_frame
from coachstream.web.status import HTTP_STATUS, error_headers
from contracts.store_records import user_message


def error_types(base: type[CoachStreamError] = CoachStreamError) -> Iterator[type[CoachStreamError]]:
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from error_types(kind)


def test_every_code_has_a_status_of_its_class() -> None:
    """The table is complete and distinguishes client errors from server errors."""
    assert set(HTTP_STATUS) == set(ErrorCode)
    assert all(400 <= status <= 599 for status in HTTP_STATUS.values())


def test_every_code_belongs_to_an_error_that_can_be_raised() -> None:
    """No code exists only in the list."""
    assert {kind.code for kind in error_types()} == set(ErrorCode)


@pytest.mark.parametrize("kind", list(error_types()), ids=lambda kind: kind.__name__)
def test_what_the_client_reads_never_holds_the_detail(kind: type[CoachStreamError]) -> None:
    """An error's detail is only for the log."""
    if issubclass(kind, errors.TurnInProgress):
        error: CoachStreamError = kind("run-1", user_message(1, "secret"))
    elif issubclass(kind, errors.QuotaExceeded):
        error = kind(QuotaLeft("turns-per-minute", 10, 0, 45), retry_after_s=45)
    else:
        error = kind(("secret",)) if kind is MethodNotAllowed else kind("secret")
    frame = error_frame(error)
    assert (frame.message, frame.code) == (kind.sentence, kind.code.value)
    assert "secret" not in frame.message


def test_401_and_405_carry_the_headers_that_http_asks_for() -> None:
    """RFC 9110: sections 15.5.2 (`WWW-Authenticate`) and 15.5.6 (`Allow`)."""
    assert error_headers(errors.MissingAuthHeader()) == {"WWW-Authenticate": "Bearer"}
    assert error_headers(errors.TokenExpired()) == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    assert error_headers(MethodNotAllowed(("GET", "PUT"))) == {"Allow": "GET, PUT"}
    assert error_headers(errors.UserIdMismatch()) == {}


@pytest.mark.parametrize(
    ("quota", "retry_after_s", "policy", "remaining"),
    [
        (QuotaLeft("concurrent-runs", 2, 0), 5, '"concurrent-runs";q=2;qu="concurrent-requests"', "r=0"),
        (QuotaLeft("turns-per-minute", 10, 0, 45), 45, '"turns-per-minute";q=10;w=60', "r=0;t=45"),
        (
            QuotaLeft("tokens-per-day", 90_000, 0, 3_600),
            3_600,
            '"tokens-per-day";q=90000;qu="tokens";w=86400',
            "r=0;t=3600",
        ),
    ],
    ids=lambda value: value.quota if isinstance(value, QuotaLeft) else "",
)
def test_429_carries_the_fields_of_the_draft(
    quota: QuotaLeft, retry_after_s: int, policy: str, remaining: str
) -> None:
    """`Retry-After` is what clients wait for; the draft's fields say why."""
    assert error_headers(errors.QuotaExceeded(quota, retry_after_s=retry_after_s)) == {
        "Retry-After": str(retry_after_s),
        "RateLimit-Policy": policy,
        "RateLimit": f'"{quota.quota}";{remaining}',
    }
