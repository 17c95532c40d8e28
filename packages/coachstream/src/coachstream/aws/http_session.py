"""The SDK's HTTP session with one TLS context for all clients of a process.

Reading the certificate authorities takes some 30 ms of processor time. By default each client reads them,
which delays the first words of a cold start.
"""

from __future__ import annotations

import ssl
from collections.abc import Hashable
from threading import Lock
from typing import cast

from aiobotocore.httpsession import AIOHTTPSession

_contexts: dict[Hashable, ssl.SSLContext] = {}
_reading = Lock()


class SharedTlsSession(AIOHTTPSession):
    """Shares the context between sessions that verify servers alike.

    Not with a proxy or a client's certificate, for which the SDK changes its contexts.
    """

    def _build_ssl_contexts(self, proxy_url: str | None) -> tuple[ssl.SSLContext, ssl.SSLContext | None]:
        """Called in a thread. The attributes are not in the stubs; a test notices if the SDK renames them."""
        build = super()._build_ssl_contexts  # type: ignore[misc]
        verify: object = self._verify  # type: ignore[attr-defined]
        if proxy_url or self._cert_file or not isinstance(verify, Hashable):  # type: ignore[attr-defined]
            return cast("tuple[ssl.SSLContext, ssl.SSLContext | None]", build(proxy_url))
        with _reading:  # clients that are opened together wait for one reading
            context = _contexts.get(verify)
            if context is None:
                context, _ = build(None)
                _contexts[verify] = context
        return context, None
