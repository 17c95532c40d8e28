"""Identity: can tokens be verified?"""

from __future__ import annotations

import asyncio
from pathlib import Path

from coachstream.check.report import Check, Trouble
from coachstream.conversation.errors import InvalidToken
from coachstream.identity.cognito import fetch_jwks, keys_url, pool_issuer
from coachstream.identity.keys import KeysUnavailable
from coachstream.identity.packaged_keys import PackagedKeys, PackagedKeysUnusable
from coachstream.services import Services
from coachstream.settings import CognitoSettings, LocalIssuerSettings
from coachstream.settings.variables import JWKS_FILE

_INVALID_TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImNvYWNoc3RyZWFtLWNoZWNrIn0.e30.x"
"""`{"alg":"RS256","kid":"coachstream-check"}`: the verifier must read the keys to reject it."""


def identity_check(services: Services) -> Check:
    """Return the configuration and its checks."""
    match services.settings.identity:
        case LocalIssuerSettings() as local:
            return Check(
                part="identity",
                choice=local.kind,
                facts={"keys": str(local.data_dir / "jwks.json")},
                connect=lambda: _find_local_keys(services),
                look=lambda: _find_local_keys(services),
            )
        case CognitoSettings() as pool:
            return Check(
                part="identity",
                choice=pool.kind,
                facts={
                    "user pool": pool.user_pool_id,
                    "app clients": ", ".join(pool.client_ids),
                    "region": pool.region,
                    "keys": keys_url(pool.region, pool.user_pool_id, endpoint_url=pool.endpoint_url),
                    **({} if pool.jwks_file is None else {"packaged keys": str(pool.jwks_file)}),
                },
                connect=lambda: _read_keys(services, pool),
            )


async def _find_local_keys(services: Services) -> str:
    data_dir = services.settings.data_dir
    if data_dir is not None and not await asyncio.to_thread((data_dir / "jwks.json").exists):
        return "`coachstream serve` or `coachstream token` will create the key."
    await _verify(services, "Delete it; `coachstream serve` creates a new one.")
    return "The local issuer's keys exist."


async def _read_keys(services: Services, pool: CognitoSettings) -> str:
    packaged = None if pool.jwks_file is None else await _packaged_keys(pool, pool.jwks_file)
    await _verify(services, "Check USER_POOL_ID and the network.")
    if packaged is None:
        return "The user pool's keys were read."
    try:
        current = await fetch_jwks(pool.user_pool_id, endpoint_url=pool.endpoint_url)
    except (KeysUnavailable, PackagedKeysUnusable) as error:
        raise Trouble(f"The keys cannot be packaged: {error}.", "Check the network.") from error
    if packaged == current:
        return "The user pool's keys were read; the packaged ones are the same."
    return "The user pool's keys were read. The packaged ones are outdated, so cold starts fetch the keys."


async def _packaged_keys(pool: CognitoSettings, path: Path) -> bytes:
    try:
        return await PackagedKeys(path, pool_issuer(pool.region, pool.user_pool_id)).load()
    except KeysUnavailable as error:
        raise Trouble(
            f"No function can start: {error}.",
            f"Package the pool's keys again, or unset {JWKS_FILE.name}.",
        ) from error


async def _verify(services: Services, remedy: str) -> None:
    try:
        await services.verifier.verify(_INVALID_TOKEN)
    except InvalidToken:
        return
    except KeysUnavailable as error:
        raise Trouble(f"The keys cannot be read: {error}.", remedy) from error
