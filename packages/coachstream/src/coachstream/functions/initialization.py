"""Loads a function's modules: before its first invocation, or while the first `start` is being sent.

In an ordinary cold start a client waits for the first byte. So a handler's module imports only what `start`
needs, and everything else, some 0.7 s of imports, is loaded in a thread after `start` is sent. If no client
waits, because the process is initialized ahead of time (AWS_LAMBDA_INITIALIZATION_TYPE; Lambda developer
guide, "Defined runtime environment variables"), everything is loaded immediately, and SnapStart keeps it in
the snapshot.

A snapshot is restored many times, so it must not contain unique state (Lambda developer guide, "Handling
uniqueness with Lambda SnapStart"). Loading opens no connection, reads no credentials, secrets or ticket key,
and creates no id; the first invocation creates the event loop and all adapters. Ids and ticket keys come from
the kernel (`secrets`, `uuid4`), which Lambda reseeds; the random generators of Python and OpenSSL are
reseeded after each restore. The pool's keys are never in a snapshot as trusted keys: an environment reads
them when it is used, regardless of its snapshot's age.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from coachstream.services import Services, settings_of_this_process

if TYPE_CHECKING:
    from coachstream.settings import Settings

_SNAP_START = "snap-start"
_STARTED_AHEAD = frozenset({_SNAP_START, "provisioned-concurrency", "lambda-managed-instances"})

# State of the process; nothing of a user.
_is_loaded = False


def initialize() -> None:
    """Reject invalid settings at initialization, and preload modules where that is free; on Lambda only.

    A handler's module calls it, so that with invalid settings no SnapStart version is published and no
    provisioned concurrency is allocated.

    Raises:
        SettingsError: the settings are invalid; it reports all errors together.
    """
    if "AWS_LAMBDA_RUNTIME_API" not in os.environ:
        return
    settings = settings_of_this_process()
    started_by = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE")
    if started_by in _STARTED_AHEAD:
        _load_all(settings)
    if started_by == _SNAP_START:
        from snapshot_restore_py import register_after_restore

        register_after_restore(reseed)


@asynccontextmanager
async def loading(settings: Settings) -> AsyncIterator[None]:
    """Load what a turn needs first, in a thread, while the body waits for something else; once per process.

    Nothing else may import meanwhile: two threads that import the same modules in different orders can see a
    partially initialized one. Adapters load what a turn needs later, while it waits for the network.
    """
    if _is_loaded:
        yield
        return
    work = asyncio.create_task(asyncio.to_thread(_load, settings), name="load what a turn needs first")
    try:
        yield
    finally:
        await work


def reseed() -> None:
    """Reseed the random generators, which all environments of a snapshot would share."""
    import random
    import ssl

    random.seed()
    ssl.RAND_add(os.urandom(64), 64.0)


def _load(settings: Settings) -> None:
    global _is_loaded  # noqa: PLW0603 (per process)
    # The code that needs a missing package reports it.
    with suppress(ImportError):
        Services(settings).load()
    _is_loaded = True


def _load_all(settings: Settings) -> None:
    global _is_loaded  # noqa: PLW0603 (per process)
    from coachstream.observability.observed import load
    from coachstream.web import ag_ui, ai_sdk  # noqa: F401 (imported for the requests to come)

    load()
    with suppress(ImportError):
        Services(settings).load_all()
    _is_loaded = True
