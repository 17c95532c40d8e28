"""The SDK's HTTP session: one TLS context for all clients that verify servers alike."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import certifi
import pytest

from coachstream.aws.http_session import SharedTlsSession

PROXY = "http://127.0.0.1:9"


def contexts_of(session: SharedTlsSession, proxy_url: str | None = None) -> ssl.SSLContext:
    context, _ = session._build_ssl_contexts(proxy_url)
    return context


async def test_sessions_that_verify_alike_share_a_context() -> None:
    """Even when they are opened together."""
    sessions = [SharedTlsSession(verify=True) for _ in range(8)]
    contexts = await asyncio.gather(*(asyncio.to_thread(contexts_of, session) for session in sessions))
    assert len(set(map(id, contexts))) == 1
    assert contexts[0].verify_mode is ssl.CERT_REQUIRED
    assert contexts[0].check_hostname


@pytest.mark.parametrize("verify", [False, certifi.where()])
def test_sessions_that_verify_differently_do_not(verify: bool | str) -> None:
    """A client that does not verify servers must not turn that off for others."""
    usual, other = contexts_of(SharedTlsSession(verify=True)), contexts_of(SharedTlsSession(verify=verify))  # type: ignore[arg-type]
    assert other is not usual
    assert usual.verify_mode is ssl.CERT_REQUIRED
    assert (other.verify_mode is ssl.CERT_REQUIRED) is bool(verify)


def test_a_session_behind_a_proxy_has_contexts_of_its_own() -> None:
    """The SDK puts the proxy's certificate into them."""
    usual = contexts_of(SharedTlsSession(verify=True))
    assert contexts_of(SharedTlsSession(verify=True), PROXY) is not usual


def test_a_session_with_a_certificate_has_a_context_of_its_own(tmp_path: Path) -> None:
    """The SDK loads it into the context, which fails here: it must have tried."""
    (tmp_path / "certificate.pem").write_text("no certificate")
    session = SharedTlsSession(verify=True, client_cert=str(tmp_path / "certificate.pem"))
    with pytest.raises(ssl.SSLError):
        contexts_of(session)
