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
OFFICIAL_EMULATOR = CACHE / "aws-lambda-rie" / "aws-lambda-rie"
WEB_ADAPTER = CACHE / "web-adapter" / "bin" / "lambda-adapter"


def node_command(client: str) -> list[str]:
    """The official Node client with the conformance functions; skips the test if it is not installed."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    if not NODE_CLIENTS[client].exists():
        pytest.skip("needs packages/lambda-streaming/tests/emulator/node/install.sh to have been run")
    return [node, str(NODE_CLIENTS[client]), "handler.handler"]


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
