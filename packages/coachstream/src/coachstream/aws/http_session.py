"""The SDK's HTTP session with the TLS context that a process shares; by default each client makes its own."""

from __future__ import annotations

import ssl
from typing import cast

from aiobotocore.httpsession import AIOHTTPSession

from coachstream.aws.tls import make_tls_context


class SharedTlsSession(AIOHTTPSession):
    """Shares the context between sessions that verify servers alike.

    Not with a proxy or a client's certificate, for which the SDK changes its contexts.
    """

    def _build_ssl_contexts(self, proxy_url: str | None) -> tuple[ssl.SSLContext, ssl.SSLContext | None]:
        """Called in a thread. The attributes are not in the stubs; a test notices if the SDK renames them."""
        verify: object = self._verify  # type: ignore[attr-defined]
        is_verified = verify is True or isinstance(verify, str)
        if proxy_url or self._cert_file or not is_verified:  # type: ignore[attr-defined]
            build = super()._build_ssl_contexts  # type: ignore[misc]
            return cast("tuple[ssl.SSLContext, ssl.SSLContext | None]", build(proxy_url))
        return make_tls_context(verify if isinstance(verify, str) else None), None
