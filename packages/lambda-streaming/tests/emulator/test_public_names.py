"""The emulator's public face."""

from __future__ import annotations

import lambda_streaming.emulator


def test_all_lists_exactly_the_public_names() -> None:
    """Every listed name can be imported, lazily loaded ones too, and nothing is public by accident."""
    public = {name for name, value in vars(lambda_streaming.emulator).items() if hasattr(value, "__mro__")}
    assert public <= set(lambda_streaming.emulator.__all__)
    assert all(hasattr(lambda_streaming.emulator, name) for name in lambda_streaming.emulator.__all__)
