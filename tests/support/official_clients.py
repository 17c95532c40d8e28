"""Third-party runtime clients, as installed by their `install.sh` next to the emulator's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.places import CACHE, LAMBDA_STREAMING

EMULATOR_TESTS = LAMBDA_STREAMING / "tests" / "emulator"
NODE_MODULES = CACHE / "node" / "node_modules"

#: The newest version, and the one before with its own code for streams.
NODE_CLIENTS = {
    "node-4": NODE_MODULES / "aws-lambda-ric" / "index.mjs",
    "node-3": NODE_MODULES / "aws-lambda-ric-3" / "bin" / "index.mjs",
}
HONO = CACHE / "hono" / "node_modules"
RUST_FUNCTION = CACHE / "rust-function" / "streaming-function"
OFFICIAL_EMULATOR = CACHE / "aws-lambda-rie" / "aws-lambda-rie"
WEB_ADAPTER = CACHE / "web-adapter" / "bin" / "lambda-adapter"


def node_command(client: str, handler: str = "handler.handler") -> list[str]:
    """The official Node client with a function; skips the test if it is not installed."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    if not NODE_CLIENTS[client].exists():
        pytest.skip("needs packages/lambda-streaming/tests/emulator/node/install.sh to have been run")
    return [node, str(NODE_CLIENTS[client]), handler]


def hono_function(folder: Path) -> list[str]:
    """A function on Hono under the official Node client; skips the test if either is not installed.

    Args:
        folder: an empty folder, in which the function is to be started.
    """
    if not HONO.exists():
        pytest.skip("needs packages/lambda-streaming/tests/emulator/hono/install.sh to have been run")
    shutil.copy(EMULATOR_TESTS / "hono" / "function.mjs", folder)
    (folder / "node_modules").symlink_to(HONO)
    return node_command("node-4", "function.handler")


def rust_function() -> list[str]:
    """A function on Rust's `lambda_http`; skips the test if it is not installed."""
    if not RUST_FUNCTION.exists():
        pytest.skip("needs packages/lambda-streaming/tests/emulator/rust/install.sh to have been run")
    return [str(RUST_FUNCTION)]


def official_emulator() -> Path:
    """AWS's runtime interface emulator; skips the test if it is not installed."""
    if not OFFICIAL_EMULATOR.exists():
        pytest.skip("needs packages/lambda-streaming/tests/emulator/rie/install.sh to have been run")
    return OFFICIAL_EMULATOR


def web_adapter_command(port: int, python: str) -> list[str]:
    """The Lambda Web Adapter in front of the small web app; skips the test if it is not installed."""
    if not WEB_ADAPTER.exists():
        pytest.skip("needs packages/lambda-streaming/tests/emulator/web_adapter/install.sh to have been run")
    app = f"'{python}' -m uvicorn --log-level warning --no-server-header --port {port} sse_app:app"
    return ["sh", "-c", f"{app} & exec '{WEB_ADAPTER}'"]
