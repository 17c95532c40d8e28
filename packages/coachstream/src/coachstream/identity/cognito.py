"""The verifier for the ID tokens of an Amazon Cognito user pool.

Issuer and key set follow the developer guide ("Verifying JSON web tokens"): the `iss` of a pool's tokens is
`https://cognito-idp.<region>.amazonaws.com/<pool id>`, and its keys are published under that URL.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from coachstream.identity.https_keys import HttpsKeys
from coachstream.identity.packaged_keys import PackagedKeys, key_set
from coachstream.identity.verifier import JwtVerifier

_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d{1,2}")
# CreateUserPool, `Id`; CreateUserPoolClient, `ClientId` (API reference).
_POOL_ID = re.compile(r"(?P<region>[a-z0-9-]+)_[0-9A-Za-z]{1,46}")
_CLIENT_ID = re.compile(r"[\w+]{1,128}", re.ASCII)


def cognito_verifier(
    region: str,
    user_pool_id: str,
    client_ids: Collection[str],
    *,
    endpoint_url: str | None = None,
    packaged_keys: Path | None = None,
) -> JwtVerifier:
    """Create a verifier for the ID tokens that a user pool issued to any of the given app clients.

    Args:
        region: the pool's region, `us-west-2`.
        user_pool_id: `us-west-2_aBcDeFgHi`.
        client_ids: the app clients whose users may call.
        endpoint_url: an alternative URL for the keys, for a Cognito emulator. The expected issuer does not
            change.
        packaged_keys: a file that `fetch_jwks` created for this pool (see `packaged_keys`); it is read with
            the first token.

    Raises:
        ValueError: an argument is missing or malformed; the message says which, and what it should be.
    """
    issuer = pool_issuer(region, user_pool_id)
    if isinstance(client_ids, str) or not client_ids:
        raise ValueError("at least one app client id is needed")
    for client_id in client_ids:
        if not _CLIENT_ID.fullmatch(client_id):
            raise ValueError(f"{client_id!r} is not an app client id: letters and digits, at most 128")
    try:
        keys = HttpsKeys(keys_url(region, user_pool_id, endpoint_url=endpoint_url))
    except ValueError as error:
        raise ValueError(f"Cognito's endpoint {endpoint_url!r} cannot be used: {error}") from error
    packaged = None if packaged_keys is None else PackagedKeys(packaged_keys, issuer)
    return JwtVerifier(keys, issuer=issuer, audiences=client_ids, packaged_keys=packaged)


async def fetch_jwks(user_pool_id: str, *, endpoint_url: str | None = None) -> bytes:
    """Read a pool's keys and return the file to package; the same keys give the same bytes.

    Args:
        user_pool_id: `us-west-2_aBcDeFgHi`.
        endpoint_url: an alternative to Cognito's own URL for the keys.

    Raises:
        ValueError: the pool's id or the endpoint is malformed, or the response cannot be packaged.
        KeysUnavailable: the keys could not be read; the message says why.
    """
    region = user_pool_id.partition("_")[0]
    document = await HttpsKeys(keys_url(region, user_pool_id, endpoint_url=endpoint_url)).load()
    return key_set(pool_issuer(region, user_pool_id), document).to_bytes()


def pool_issuer(region: str, user_pool_id: str) -> str:
    """The `iss` of a pool's tokens.

    Raises:
        ValueError: region or pool id is malformed, or the pool is in another region.
    """
    if not _REGION.fullmatch(region):
        raise ValueError(f"{region!r} is not an AWS region like us-west-2")
    pool = _POOL_ID.fullmatch(user_pool_id)
    if pool is None:
        raise ValueError(f"{user_pool_id!r} is not a user pool id like {region}_aBcDeFgHi")
    if pool["region"] != region:
        raise ValueError(f"the user pool {user_pool_id} is in the region {pool['region']}, not in {region}")
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://cognito-idp.{region}.{domain}/{user_pool_id}"


def keys_url(region: str, user_pool_id: str, *, endpoint_url: str | None = None) -> str:
    """The URL of a pool's key set.

    Raises:
        ValueError: as `pool_issuer` does.
    """
    issuer = pool_issuer(region, user_pool_id)
    base = issuer if endpoint_url is None else f"{endpoint_url.rstrip('/')}/{user_pool_id}"
    return f"{base}/.well-known/jwks.json"
