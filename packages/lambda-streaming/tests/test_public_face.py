"""What `import lambda_streaming` exports, and what it must not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lambda_streaming

#: Modules that a streaming-only function must not import on a cold start.
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
    """`__all__` is the table of contents, in the formatter's order."""
    assert all(hasattr(lambda_streaming, name) for name in lambda_streaming.__all__)
    shown = {name for name in vars(lambda_streaming) if not name.startswith("_")}
    submodules = {name for name in shown if f"lambda_streaming.{name}" in sys.modules}
    assert shown - submodules - {"annotations", "TYPE_CHECKING"} <= set(lambda_streaming.__all__)
    assert all(getattr(lambda_streaming, name).__doc__ for name in lambda_streaming.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Lazy imports must not hide a typo."""
    with pytest.raises(AttributeError, match="streamify"):
        _ = lambda_streaming.streamify


@pytest.mark.parametrize("module", HEAVY)
def test_importing_the_package_does_not_import(module: str) -> None:
    """This keeps cold starts fast."""
    program = f"import sys, lambda_streaming; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
