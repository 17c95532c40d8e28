"""What `import lambda_streaming` promises, and what it must not cost."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lambda_streaming

#: Modules that a function which only streams must not pay for when it starts cold.
HEAVY = (
    "h11",
    "uvicorn",
    "typer",
    "rich",
    "httpx",
    "http.client",
    "awslambdaric",
    "lambda_streaming.function_url",
)


def test_every_public_name_is_there_and_nothing_else_is() -> None:
    """`__all__` is the table of contents, sorted as the formatter sorts."""
    assert all(hasattr(lambda_streaming, name) for name in lambda_streaming.__all__)
    shown = {name for name in vars(lambda_streaming) if not name.startswith("_")}
    submodules = {name for name in shown if f"lambda_streaming.{name}" in sys.modules}
    assert shown - submodules - {"annotations", "TYPE_CHECKING"} <= set(lambda_streaming.__all__)
    assert all(getattr(lambda_streaming, name).__doc__ for name in lambda_streaming.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """Lazy names do not hide a typing mistake."""
    with pytest.raises(AttributeError, match="streamify"):
        _ = lambda_streaming.streamify


@pytest.mark.parametrize("module", HEAVY)
def test_importing_the_package_does_not_import(module: str) -> None:
    """The cold path stays short."""
    program = f"import sys, lambda_streaming; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
