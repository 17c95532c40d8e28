"""A function with SnapStart hooks that report their order; `FAILING_HOOK` makes one of them fail."""

from __future__ import annotations

import os

import snapshot_restore_py

from support.streaming_functions import words

__all__ = ["words"]

FAILING_HOOK = os.environ.get("FAILING_HOOK")


def _hook(kind: str, number: int) -> None:
    if kind == FAILING_HOOK:
        raise RuntimeError("the hook fails")
    print(f"hook {kind} {number}", flush=True)  # noqa: T201 (the test reads it)


snapshot_restore_py.register_before_snapshot(_hook, "before", 1)
snapshot_restore_py.register_before_snapshot(_hook, "before", 2)
snapshot_restore_py.register_after_restore(_hook, "after", 1)
snapshot_restore_py.register_after_restore(_hook, "after", 2)
