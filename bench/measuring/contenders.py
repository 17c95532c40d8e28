"""The functions that are compared: each with its command, its settings and what it needs on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

import msgspec

from measuring.processes import free_port
from measuring.surroundings import Command, Surroundings
from measuring.user_pool import CLIENT, POOL
from support.dynamodb import missing_for_dynamodb_local
from support.official_clients import NODE_CLIENTS, WEB_ADAPTER
from support.places import CACHE, ROOT

OURS = "coachstream"
FUNCTIONS = ROOT / "bench" / "functions"
NODE_CLIENT = NODE_CLIENTS["node-4"]
NODE_MODULES = CACHE / "bench-node" / "node_modules"
_STREAM = "coachstream.functions.stream_coach_conversation.handler.handler"
_INSTALL = "run `make test-peers`"


class MissingPeer(Exception):
    """Something that the chosen contenders need is not installed; the message says how to get it."""


class Contender(msgspec.Struct, frozen=True):
    """A function that streams a coach's reply.

    Attributes:
        name: its name in options, tables and files.
        what: what it is made of, on one line.
        missing: what it lacks on this machine, as a sentence; None if it can run.
        command: creates its command.
    """

    name: str
    what: str
    missing: Callable[[], str | None]
    command: Callable[[Surroundings], Command]


def check(chosen: Sequence[Contender]) -> None:
    """Check that everything is installed.

    Raises:
        MissingPeer: something is not.
    """
    if not sys.platform.startswith("linux"):
        raise MissingPeer("The processor time of another process is read as on Linux only.")
    sentences = [_missing_dynamodb_local(), *(contender.missing() for contender in chosen)]
    if found := [sentence for sentence in sentences if sentence]:
        raise MissingPeer("\n".join(dict.fromkeys(found)))


def _missing_dynamodb_local() -> str | None:
    if shutil.which("java") is None:
        return "DynamoDB Local needs Java 17 or newer (Debian: apt install openjdk-17-jre-headless)."
    return f"DynamoDB Local is not installed: {_INSTALL}." if missing_for_dynamodb_local() else None


def _ours(of: Surroundings) -> Command:
    settings = {
        **of.environment,
        "COACHSTREAM_STORE": "dynamodb",
        "COACHSTREAM_MODEL": "bedrock",
        "COACHSTREAM_ANALYSIS_MODEL_ID": "off",
        "COACHSTREAM_RECALL": "off",
        "COACHSTREAM_IDENTITY": "cognito",
        "COACHSTREAM_JWKS_FILE": str(of.packaged_keys),
        "USER_POOL_ID": POOL,
        "APP_CLIENT_ID": CLIENT,
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": of.urls["cognito-idp"],
    }
    if of.package is None:
        return Command((sys.executable, "-m", "lambda_streaming", _STREAM), settings, ROOT)
    # As Lambda starts it. Without `site`, the interpreter sees no other packages than its standard library.
    wrapper = str(of.package / "lambda_streaming" / "exec-wrapper")
    settings |= {"LAMBDA_TASK_ROOT": str(of.package), "_HANDLER": _STREAM}
    return Command((wrapper, sys.executable, "-S", "/var/runtime/bootstrap.py"), settings, of.package)


def _missing_node() -> str | None:
    if shutil.which("node") is None:
        return "The reference function needs Node (Debian: apt install nodejs npm)."
    if not NODE_CLIENT.exists() or not (NODE_MODULES / "esbuild").exists():
        return f"The reference function in Node is not installed: {_INSTALL}."
    return None


def _node(of: Surroundings) -> Command:
    """The reference function, in one file, as Amplify and the CDK bundle it for deployment."""
    bundle = of.folder / "node" / "coach.mjs"
    if not bundle.exists():
        requires = (
            'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);'
        )
        subprocess.run(  # noqa: S603 (a pinned program)
            [
                shutil.which("node") or "node",
                str(NODE_MODULES / "esbuild" / "bin" / "esbuild"),
                str(FUNCTIONS / "coach.mjs"),
                *("--bundle", "--minify", "--platform=node", "--format=esm", "--target=node20"),
                *(f"--banner:js={requires}", f"--outfile={bundle}", "--log-level=warning"),
            ],
            env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
            check=True,
        )
    arguments = (shutil.which("node") or "node", str(NODE_CLIENT), "coach.handler")
    return Command(arguments, {**of.environment, "NODE_ENV": "production"}, bundle.parent)


def _missing_web_adapter() -> str | None:
    return None if WEB_ADAPTER.exists() else f"The Lambda Web Adapter is not installed: {_INSTALL}."


def _behind_the_web_adapter(module: str, of: Surroundings) -> Command:
    port = free_port()
    uvicorn = f"'{sys.executable}' -m uvicorn --log-level warning --no-access-log --port {port} {module}:app"
    settings = {
        **of.environment,
        "AWS_LWA_INVOKE_MODE": "response_stream",
        "AWS_LWA_PORT": str(port),
    }
    return Command(("sh", "-c", f"{uvicorn} & exec '{WEB_ADAPTER}'"), settings, FUNCTIONS)


CONTENDERS = (
    Contender(OURS, "the stream function", lambda: None, _ours),
    Contender("node", "a Node function on the official runtime client, bundled", _missing_node, _node),
    Contender(
        "boto3",
        "FastAPI and boto3 behind the Lambda Web Adapter",
        _missing_web_adapter,
        lambda of: _behind_the_web_adapter("fastapi_boto3", of),
    ),
    Contender(
        "aiobotocore",
        "FastAPI and aiobotocore behind the Lambda Web Adapter",
        _missing_web_adapter,
        lambda of: _behind_the_web_adapter("fastapi_aiobotocore", of),
    ),
)
