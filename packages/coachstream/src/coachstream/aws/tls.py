"""The TLS contexts of connections to AWS: one for all that trust the same authorities.

Reading the authorities takes some 30 ms of processor time, which delays the first words of a cold start.
"""

from __future__ import annotations

import asyncio
import ssl
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

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
    """Make it now, unless it exists."""
    with _reading:  # connections that are made together wait for one reading
        context = _contexts.get(ca_bundle)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the certificate and the host
            context.set_alpn_protocols(["http/1.1"])
            context.load_verify_locations(ca_bundle or sdk_authorities())
            _contexts[ca_bundle] = context
        return context


def sdk_authorities() -> str:
    """The file with the SDK's certificate authorities: certifi's if that is installed, or botocore's.

    To ask the SDK would import its HTTP client.
    """
    for package in ("certifi", "botocore"):
        found = find_spec(package)
        if found is not None and found.origin is not None:
            file = Path(found.origin).with_name("cacert.pem")
            if file.exists():
                return str(file)
    from botocore.httpsession import get_cert_path

    return str(get_cert_path(True))
