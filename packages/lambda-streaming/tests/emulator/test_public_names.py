"""The emulator's public face."""

from __future__ import annotations

import lambda_streaming.emulator


def test_all_names_what_is_there() -> None:
    """Each public name can be imported, and nothing is public by accident."""
    assert all(hasattr(lambda_streaming.emulator, name) for name in lambda_streaming.emulator.__all__)
    public = {name for name, value in vars(lambda_streaming.emulator).items() if hasattr(value, "__mro__")}
    assert public <= set(lambda_streaming.emulator.__all__)
