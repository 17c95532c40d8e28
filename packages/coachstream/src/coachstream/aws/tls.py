"""The TLS context of the connections to AWS that are made without the SDK's client."""

from __future__ import annotations

import asyncio
import os
import ssl
from threading import Lock

import botocore

_contexts: dict[str | None, ssl.SSLContext] = {}
_reading = Lock()


async def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """The context of all connections that trust the same authorities; it is made in a thread.

    Args:
        ca_bundle: a file with certificate authorities; by default the SDK's.
    """
    known = _contexts.get(ca_bundle)
    return await asyncio.to_thread(make_tls_context, ca_bundle) if known is None else known


def make_tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Make it now, unless it exists; reading the authorities takes some 30 ms of processor time."""
    with _reading:  # connections that are made together wait for one reading
        context = _contexts.get(ca_bundle)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the certificate and the host
            context.set_alpn_protocols(["http/1.1"])
            own = os.path.join(os.path.dirname(botocore.__file__), "cacert.pem")  # noqa: PTH118, PTH120
            context.load_verify_locations(ca_bundle or own)
            _contexts[ca_bundle] = context
        return context
