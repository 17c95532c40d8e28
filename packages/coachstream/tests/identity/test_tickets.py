"""Tickets grant read access to one run of one conversation, for a limited time, and to nothing else."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coachstream.conversation.errors import (
    AuthenticationError,
    InvalidTicket,
    InvalidToken,
    TicketExpired,
    TicketsUnavailable,
)
from coachstream.conversation.model import ConversationKey
from coachstream.identity.keys import FileKeys, KeysUnavailable
from coachstream.identity.local_issuer import LocalIssuer, local_verifier
from coachstream.identity.ticket_keys import KEY_BYTES, fixed_key
from coachstream.identity.tickets import AUDIENCE, MAX_TICKET_CHARS, TICKET_LIFETIME, Tickets
from coachstream.identity.verifier import JwtVerifier
from contracts.token_verifier import AUDIENCE as POOL_AUDIENCE
from contracts.token_verifier import ISSUER, UserPool

SECRET = b"open-sesame-".ljust(2 * KEY_BYTES, b"!")
KEY = ConversationKey("user-1", "coach-1", "conv-1")
RUN = "run_1795432823000_abc123def"
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
NOW = datetime(2026, 11, 23, 6, 30, tzinfo=UTC)


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def tickets(watch: Watch) -> Tickets:
    return Tickets(fixed_key(SECRET), now=watch)


def claims(changes: Mapping[str, object] | None = None) -> dict[str, object]:
    """The claims of a valid ticket; a change to `None` removes the claim."""
    good: dict[str, object] = {
        "sub": KEY.user_id,
        "coach": KEY.coach_id,
        "conversation": KEY.conversation_id,
        "run": RUN,
        "aud": AUDIENCE,
        "exp": int(NOW.timestamp()) + 900,
    }
    return {name: value for name, value in {**good, **(changes or {})}.items() if value is not None}


def signed(changes: Mapping[str, object] | None = None, *, secret: bytes = SECRET) -> str:
    return jwt.encode(claims(changes), secret, algorithm="HS256")


async def test_a_ticket_opens_its_run(tickets: Tickets) -> None:
    """It needs no escaping in a URL, and another instance with the same key accepts it."""
    ticket = await tickets.issue(KEY, RUN)
    await tickets.verify(ticket, KEY, RUN)
    await Tickets(fixed_key(SECRET), now=Watch()).verify(ticket, KEY, RUN)
    assert set(ticket) <= set(BASE64URL + ".")
    assert len(ticket) < 500


@pytest.mark.parametrize(
    ("key", "run_id"),
    [
        (KEY, "run_1795432823000_abc123deg"),
        (KEY, ""),
        (msgspec.structs.replace(KEY, conversation_id="conv-2"), RUN),
        (msgspec.structs.replace(KEY, coach_id="coach-2"), RUN),
        (msgspec.structs.replace(KEY, user_id="user-2"), RUN),
        (ConversationKey("coach-1", "user-1", "conv-1"), RUN),
    ],
    ids=["run", "no run", "conversation", "coach", "user", "swapped"],
)
async def test_it_opens_nothing_else(tickets: Tickets, key: ConversationKey, run_id: str) -> None:
    """It is bound to the user, the coach, the conversation and the run."""
    ticket = await tickets.issue(KEY, RUN)
    with pytest.raises(InvalidTicket):
        await tickets.verify(ticket, key, run_id)


ANY_ID = st.text(max_size=30)


@given(st.tuples(ANY_ID, ANY_ID, ANY_ID, ANY_ID), st.tuples(ANY_ID, ANY_ID, ANY_ID, ANY_ID))
async def test_whatever_the_ids_are_it_opens_its_own_and_no_other(
    own: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    """Adjacent ids cannot be confused by moving characters between them."""
    office = Tickets(fixed_key(SECRET), now=Watch())
    ticket = await office.issue(ConversationKey(*own[:3]), own[3])
    await office.verify(ticket, ConversationKey(*own[:3]), own[3])
    if own != other:
        with pytest.raises(InvalidTicket):
            await office.verify(ticket, ConversationKey(*other[:3]), other[3])


async def test_it_is_good_for_as_long_as_a_run_can_last(tickets: Tickets, watch: Watch) -> None:
    """Exact to the second, by the service's clock rather than PyJWT's."""
    ticket = await tickets.issue(KEY, RUN)
    watch.now = NOW + TICKET_LIFETIME - timedelta(seconds=1)
    await tickets.verify(ticket, KEY, RUN)
    watch.now = NOW + TICKET_LIFETIME
    with pytest.raises(TicketExpired):
        await tickets.verify(ticket, KEY, RUN)


async def test_another_lifetime_can_be_set(watch: Watch) -> None:
    """For example, a minute."""
    office = Tickets(fixed_key(SECRET), now=watch, lifetime=timedelta(minutes=1))
    ticket = await office.issue(KEY, RUN)
    watch.now = NOW + timedelta(minutes=1)
    with pytest.raises(TicketExpired):
        await office.verify(ticket, KEY, RUN)


async def test_an_expired_ticket_for_something_else_is_not_valid(tickets: Tickets, watch: Watch) -> None:
    """The error does not reveal that the ticket was ever valid."""
    ticket = await tickets.issue(KEY, RUN)
    watch.now = NOW + timedelta(days=1)
    with pytest.raises(InvalidTicket):
        await tickets.verify(ticket, KEY, "run_2")


async def test_altered_at_any_character_it_is_refused(tickets: Tickets) -> None:
    """Including the last one, whose lowest bits decoders ignore."""
    ticket = await tickets.issue(KEY, RUN)
    for at, character in enumerate(ticket):
        for other in BASE64URL + ".=+/ \n\x00é":
            if other != character:
                with pytest.raises(InvalidTicket):
                    await tickets.verify(ticket[:at] + other + ticket[at + 1 :], KEY, RUN)


@given(data=st.data())
async def test_altered_in_any_way_it_is_refused(tickets: Tickets, data: st.DataObject) -> None:
    """Text removed, repeated or inserted, or one bit flipped."""
    ticket = await tickets.issue(KEY, RUN)
    here, there = sorted((data.draw(st.integers(0, len(ticket))), data.draw(st.integers(0, len(ticket)))))
    byte = data.draw(st.integers(0, len(ticket) - 1))
    bit = data.draw(st.integers(0, 6))
    turned = ticket.encode()[byte] ^ (1 << bit)
    variants = {
        ticket[:here] + ticket[there:],
        ticket[:there] + ticket[here:],
        ticket[:here] + data.draw(st.text(max_size=5)) + ticket[here:],
        ticket[:byte] + chr(turned) + ticket[byte + 1 :],
    }
    for altered in variants - {ticket}:
        with pytest.raises(InvalidTicket):
            await tickets.verify(altered, KEY, RUN)


@given(text=st.text(max_size=200))
async def test_any_other_text_is_refused(tickets: Tickets, text: str) -> None:
    """With the one error that reveals nothing."""
    with pytest.raises(InvalidTicket):
        await tickets.verify(text, KEY, RUN)


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "forged",
    [
        f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(claims())}.",
        f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(claims())}.e30",
        jwt.encode(claims(), SECRET, algorithm="HS512"),
        signed(secret=b"another-key".ljust(KEY_BYTES, b"!")),
        signed({"aud": "coachstream"}),
        signed({"aud": None}),
        signed({"exp": None}),
        signed({"exp": "soon"}),
        signed({"exp": 1e400}),
        signed({"sub": None}),
        signed({"run": None}),
        signed({"run": [RUN]}),
        signed({"nbf": time.time() + 10_000}),
        jwt.encode(claims({"padding": "x" * MAX_TICKET_CHARS}), SECRET, algorithm="HS256"),
    ],
    # With the ticket as its id, a test's name would differ between processes.
    ids=map(str, range(14)),
)
async def test_what_is_not_such_a_ticket_is_refused(tickets: Tickets, forged: str) -> None:
    """No or another algorithm, another key or audience, missing or malformed claims, or too long."""
    with pytest.raises(InvalidTicket):
        await tickets.verify(forged, KEY, RUN)


async def test_the_forgeries_differ_from_a_good_ticket_in_that_alone(tickets: Tickets) -> None:
    """This proves that the tests above fail for the intended reason."""
    await tickets.verify(signed(), KEY, RUN)


async def test_a_token_for_several_audiences_is_no_ticket() -> None:
    """`aud` may be a list; a ticket's is a single audience."""
    office = Tickets(fixed_key(SECRET), now=Watch())
    with pytest.raises(InvalidTicket):
        await office.verify(signed({"aud": [AUDIENCE, "everybody"]}), KEY, RUN)


async def test_every_refusal_reads_the_same(tickets: Tickets, watch: Watch) -> None:
    """Neither the error sentence nor the logged detail quotes the ticket."""
    ticket = await tickets.issue(KEY, RUN)
    sentences = set()
    wrong = ((ticket, "run_2"), (ticket[:-3], RUN), ("", RUN), (signed({"aud": "secret-aud"}), RUN))
    for refusable, run_id in wrong:
        with pytest.raises(InvalidTicket) as refused:
            await tickets.verify(refusable, KEY, run_id)
        sentences.add(refused.value.sentence)
        for word in (KEY.user_id, RUN, "secret-aud", ticket[:20]):
            assert word not in str(refused.value)
    assert len(sentences) == 1
    assert issubclass(TicketExpired, AuthenticationError)
    assert watch.now == NOW


async def test_an_id_token_is_no_ticket(tmp_path: Path) -> None:
    """Neither the local issuer's nor a pool's, not even one with all the claims of a ticket."""
    issued = await asyncio.to_thread(LocalIssuer(tmp_path).issue, KEY.user_id)
    pool = UserPool()
    public = (await asyncio.to_thread((tmp_path / "jwks.json").read_bytes)).ljust(KEY_BYTES)
    for office in (Tickets(fixed_key(SECRET)), Tickets(fixed_key(public))):
        for token in (issued.token, pool.token(), pool.token(claims({"exp": int(time.time()) + 900}))):
            with pytest.raises(InvalidTicket):
                await office.verify(token, KEY, RUN)


async def test_a_ticket_is_no_id_token(tmp_path: Path) -> None:
    """Verifiers refuse it, and also an HS256 token with all the claims of an ID token."""
    local = LocalIssuer(tmp_path)
    await asyncio.to_thread(local.ensure_keys)
    pool = UserPool()
    path = tmp_path / "pool.json"
    await asyncio.to_thread(path.write_bytes, pool.jwks())
    office = Tickets(fixed_key(SECRET))
    ticket = await office.issue(KEY, RUN)
    imitation = jwt.encode(pool.claims(), SECRET, algorithm="HS256", headers={"kid": "key-1"})
    pools = JwtVerifier(FileKeys(path), issuer=ISSUER, audiences=(POOL_AUDIENCE, AUDIENCE))
    await pools.verify(pool.token())
    for verifier in (local_verifier(tmp_path), pools):
        for token in (ticket, imitation):
            with pytest.raises(InvalidToken):
                await verifier.verify(token)


async def test_without_a_key_there_are_no_tickets() -> None:
    """None is issued, and none is accepted."""
    office = Tickets(None)
    with pytest.raises(TicketsUnavailable):
        office.require_key()
    with pytest.raises(TicketsUnavailable):
        await office.issue(KEY, RUN)
    with pytest.raises(TicketsUnavailable):
        await office.verify(signed(), KEY, RUN)


async def test_a_configured_key_is_not_read_before_it_is_needed() -> None:
    """Whether there is a key is known without reading it."""

    async def unreadable(*, instead_of: bytes | None = None) -> bytes:  # noqa: ARG001 (the port's)
        raise KeysUnavailable("not now")

    office = Tickets(unreadable)
    office.require_key()
    for attempt in (office.issue(KEY, RUN), office.verify(signed(), KEY, RUN)):
        with pytest.raises(KeysUnavailable):
            await attempt


class RotatedKey:
    """A cached key that is read again only when a caller rejects the cached value."""

    def __init__(self, kept: bytes) -> None:
        self.kept = self._remembered = kept
        self.readings = 0

    async def __call__(self, *, instead_of: bytes | None = None) -> bytes:
        if self._remembered == instead_of:
            self.readings += 1
            self._remembered = self.kept
        return self._remembered


async def test_a_ticket_that_is_signed_with_the_rotated_key_opens_its_run(watch: Watch) -> None:
    """A process unaware of the rotation reads the key again and issues tickets with it from then on."""
    key = RotatedKey(SECRET)
    office = Tickets(key, now=watch)
    before = await office.issue(KEY, RUN)
    key.kept = SECRET[::-1]
    rotated = Tickets(fixed_key(key.kept), now=watch)
    await office.verify(await rotated.issue(KEY, RUN), KEY, RUN)
    await rotated.verify(await office.issue(KEY, RUN), KEY, RUN)
    with pytest.raises(InvalidTicket):
        await office.verify(before, KEY, RUN)


@pytest.mark.parametrize(
    "ticket", ["junk", "a.b.c", signed({"aud": "coachstream"}), signed({"run": "run_2"})]
)
async def test_the_key_is_not_read_again_for_a_ticket_that_no_key_would_save(
    ticket: str, watch: Watch
) -> None:
    """Only a wrong signature can be due to another key."""
    key = RotatedKey(SECRET)
    with pytest.raises(InvalidTicket):
        await Tickets(key, now=watch).verify(ticket, KEY, RUN)
    assert key.readings == 0


@pytest.mark.parametrize("secret", [b"", SECRET[: KEY_BYTES - 1]])
async def test_a_key_that_is_too_short_signs_nothing(secret: bytes) -> None:
    """Whatever the source of the key."""
    office = Tickets(fixed_key(secret))
    with pytest.raises(KeysUnavailable, match="shorter than 32 bytes") as refused:
        await office.issue(KEY, RUN)
    assert "sesame" not in str(refused.value)


def test_importing_the_module_does_not_import_the_cryptography() -> None:
    """It is imported in a thread with the first ticket."""
    program = (
        "import sys, coachstream.identity.tickets; print(sorted({'jwt', 'cryptography'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
