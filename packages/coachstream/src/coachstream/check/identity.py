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

_TOKEN_OF_NOBODY = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImNvYWNoc3RyZWFtLWNoZWNrIn0.e30.x"
"""`{"alg":"RS256","kid":"coachstream-check"}`: to refuse it, the keys must be read."""


def identity_check(services: Services) -> Check:
    """What is configured, and how it is tried."""
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
        return "The key will be made by `coachstream serve` or `coachstream token`."
    await _verify(services, "Delete it, and `coachstream serve` makes it anew.")
    return "The local issuer's keys are there."


async def _read_keys(services: Services, pool: CognitoSettings) -> str:
    packaged = None if pool.jwks_file is None else await _packaged_keys(pool, pool.jwks_file)
    await _verify(services, "Is USER_POOL_ID right, and is the network open?")
    if packaged is None:
        return "The user pool's keys were read."
    try:
        current = await fetch_jwks(pool.user_pool_id, endpoint_url=pool.endpoint_url)
    except (KeysUnavailable, PackagedKeysUnusable) as error:
        raise Trouble(f"The keys cannot be packaged: {error}.", "Is the network open?") from error
    if packaged == current:
        return "The user pool's keys were read; the packaged ones are the same."
    return "The user pool's keys were read. It has others than the package, so cold starts wait for it."


async def _packaged_keys(pool: CognitoSettings, path: Path) -> bytes:
    try:
        return await PackagedKeys(path, pool_issuer(pool.region, pool.user_pool_id)).load()
    except KeysUnavailable as error:
        raise Trouble(
            f"No function starts with {error}.",
            f"Package the pool's keys anew, or leave {JWKS_FILE.name} out.",
        ) from error


async def _verify(services: Services, remedy: str) -> None:
    try:
        await services.verifier.verify(_TOKEN_OF_NOBODY)
    except InvalidToken:
        return
    except KeysUnavailable as error:
        raise Trouble(f"The keys cannot be read: {error}.", remedy) from error
