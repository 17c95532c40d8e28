"""Whether an environment is plain: then calls need no SDK to find out how to make them.

It is as on Lambda: the region is given, there are no shared configuration files, no proxy and no special
endpoint, and the variables that the SDK documents for these are not set. In every other environment, the SDK
makes the calls. So nothing that it understands has to be understood here.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

_SPECIAL = (
    "AWS_ACCOUNT_ID",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE",
    "AWS_AUTH_SCHEME_PREFERENCE",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_DEFAULT_PROFILE",
    "AWS_ENABLE_ENDPOINT_DISCOVERY",
    "AWS_ENDPOINT_DISCOVERY_ENABLED",
    "AWS_PROFILE",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "BOTO_CONFIG",
)
"""They change the endpoint or the signature (SDKs and Tools Reference Guide, "Settings reference")."""

_PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY")

_FILES = {"AWS_CONFIG_FILE": "~/.aws/config", "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials"}

_STANDARD_REGION = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-(?!gov|iso)[a-z]+-\d")
"""Regions of the partition `aws`, whose services are `<service>.<region>.amazonaws.com` (`regionRegex` in
botocore's `partitions.json`, November 2026). A region that it does not match is left to the SDK."""


class Keys(msgspec.Struct, frozen=True):
    """Credentials, with the SDK's names."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Keys({self.access_key!r})"


class Endpoint(msgspec.Struct, frozen=True):
    """Where and how a service is called.

    Attributes:
        url: scheme and authority.
        region: the region that requests are signed for.
        ca_bundle: a file with certificate authorities; by default the SDK's.
    """

    url: str
    region: str
    ca_bundle: str | None = None


def plain_endpoint(
    service: str, environ: Mapping[str, str], *, region: str | None, url: str | None
) -> Endpoint | None:
    """The endpoint of a service, as the SDK would resolve it; None if the environment is not plain.

    It looks for files, so call it in a thread.

    Args:
        service: the SDK's name.
        environ: the process's environment.
        region: by default the environment's.
        url: instead of the service's own.
    """
    region = region or environ.get("AWS_DEFAULT_REGION")
    if not region or not _is_plain(environ):
        return None
    if environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
        name = service.upper().replace("-", "_")
        url = url or environ.get(f"AWS_ENDPOINT_URL_{name}") or environ.get("AWS_ENDPOINT_URL")
    if not url and _STANDARD_REGION.fullmatch(region):
        url = f"https://{service}.{region}.amazonaws.com"
    if not url or not _is_origin(url):
        return None
    ca_bundle = environ.get("AWS_CA_BUNDLE") or environ.get("REQUESTS_CA_BUNDLE")
    return Endpoint(url.rstrip("/"), region, ca_bundle or None)


def plain_keys(environ: Mapping[str, str]) -> Keys | None:
    """The environment's credentials; None if there are none, or if they expire at a time that it names."""
    access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key or environ.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    token = environ.get("AWS_SESSION_TOKEN") or environ.get("AWS_SECURITY_TOKEN")
    return Keys(access_key, secret_key, token or None)


def _is_plain(environ: Mapping[str, str]) -> bool:
    is_special = any(environ.get(name) for name in _SPECIAL)
    has_proxy = any(environ.get(name) or environ.get(name.lower()) for name in _PROXIES)
    if is_special or has_proxy or sys.platform != "linux":  # other systems have proxies of their own
        return False
    paths = (environ.get(variable) or default for variable, default in _FILES.items())
    return not any(os.path.exists(os.path.expanduser(path)) for path in paths)  # noqa: PTH110, PTH111 (as the SDK)


def _is_origin(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return (
        is_complete and parts.path in {"", "/"} and not (parts.query or parts.fragment or "@" in parts.netloc)
    )
