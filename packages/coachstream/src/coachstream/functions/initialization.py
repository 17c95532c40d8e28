"""What a function loads, and when: before its first invocation, or while that one's `start` is read.

In an ordinary cold start somebody waits for the first byte. So a handler's module brings what `start` needs,
and everything else, some 0.7 s of imports, is loaded in a thread when `start` is on its way. Where nobody
waits, because the process is started ahead (AWS_LAMBDA_INITIALIZATION_TYPE; Lambda developer guide, "Defined
runtime environment variables"), all of it is loaded at once: SnapStart keeps it in the snapshot.

A snapshot is restored many times, so nothing unique may be in it (Lambda developer guide, "Handling
uniqueness with Lambda SnapStart"). Loading opens no connection, reads no credentials, secrets or tickets' key
and makes no id; the event loop and with it all adapters are made by the first invocation. Ids and ticket keys
come from the kernel (`secrets`, `uuid4`), which is seeded anew by Lambda; what Python and OpenSSL keep of
random numbers by themselves is seeded anew after each restore. The pool's keys are never in a snapshot as
keys to be trusted: an environment reads them when it is used, whatever its snapshot's age.
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

# Of the process, and nothing of a user's.
_is_loaded = False


def initialize() -> None:
    """Refuse a wrong deployment as it starts, and load ahead where that is free; on Lambda only.

    A handler's module does it, so that a version for SnapStart is not published, and provisioned concurrency
    not allocated, with settings that cannot work.

    Raises:
        SettingsError: the environment does not describe a service that can run; it names every mistake.
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
    """Load what a turn begins with, in a thread, while the body waits for something else; once a process.

    Nothing else imports meanwhile: two threads that import the same modules from two ends can get hold of one
    that is half made. What a turn needs later is loaded by its adapters, while it waits for the network.
    """
    if _is_loaded:
        yield
        return
    work = asyncio.create_task(asyncio.to_thread(_load, settings), name="load what a turn begins with")
    try:
        yield
    finally:
        await work


def reseed() -> None:
    """Part from the other environments of the same snapshot."""
    import random
    import ssl

    random.seed()
    ssl.RAND_add(os.urandom(64), 64.0)


def _load(settings: Settings) -> None:
    global _is_loaded  # noqa: PLW0603 (of the process)
    # What is not installed is told by whoever needs it.
    with suppress(ImportError):
        Services(settings).load()
    _is_loaded = True


def _load_all(settings: Settings) -> None:
    global _is_loaded  # noqa: PLW0603 (of the process)
    from coachstream.observability.observed import load

    load()
    with suppress(ImportError):
        Services(settings).load_all()
    _is_loaded = True
