"""Local stand-ins for all remote services: moto, DynamoDB, and test servers for Bedrock and Pinecone.

Commands in other processes use `Elsewhere.environment`, which has all the addresses.
"""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch

from coachstream.cli import main
from coachstream.settings.variables import DEFAULT_ANALYSIS_MODEL, MODEL_ID
from support.bedrock_control import bedrock_control
from support.bedrock_server import bedrock_server_process
from support.cognito import UserPool
from support.patience import PATIENCE_S, PATIENT
from support.pinecone_server import API_KEY, pinecone_server_process

WITHOUT_AWS: Mapping[str, str] = {
    **{
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "COACHSTREAM_", "PINECONE_", "BEDROCK_", "DYNAMODB_"))
    },
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""This process's environment without any AWS or Pinecone settings."""

CREDENTIALS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "hunter2-open-sesame",
    "AWS_REGION": "us-west-2",
}


def coachstream(
    *arguments: str, environment: Mapping[str, str], cwd: Path | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command line with this environment and no other."""
    return subprocess.run(
        [sys.executable, "-m", "coachstream.cli", *arguments],
        env=dict(environment),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def coachstream_here(
    *arguments: str, environment: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, without startup cost, for tests that need no separate process.

    Do not call it from a coroutine, because a command may run an event loop.
    """
    out, err, disabled = io.StringIO(), io.StringIO(), logging.root.manager.disable
    with (
        patch.dict(os.environ, environment, clear=True),
        patch.object(sys, "argv", ["coachstream", *arguments]),
        patch.object(sys, "stdin", io.StringIO()),
        redirect_stdout(out),
        redirect_stderr(err),
        chdir(cwd or Path.cwd()),
    ):
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        finally:
            logging.disable(disabled)  # `check` disables logging for its process
    assert code is None or isinstance(code, int), f"exit status {code!r}"
    return subprocess.CompletedProcess(arguments, code or 0, out.getvalue(), err.getvalue())


@dataclass
class Elsewhere:
    """The servers.

    Attributes:
        environment: the variables of a deployment next to the existing backend; the table does not exist yet.
        pool: the user pool that issues tokens.
        table: the table's name.
    """

    environment: dict[str, str] = field(repr=False)
    pool: UserPool
    table: str


@contextmanager
def elsewhere(moto_url: str, dynamodb_url: str) -> Iterator[Elsewhere]:
    """Start the servers other than moto and DynamoDB."""
    pool = UserPool(moto_url)
    table = f"coachstream-{uuid.uuid4().hex[:12]}"
    try:
        with (
            bedrock_server_process() as bedrock,
            bedrock_control() as control,
            pinecone_server_process() as pinecone,
        ):
            control.add(MODEL_ID.default.removeprefix("us."))
            control.add(DEFAULT_ANALYSIS_MODEL)
            environment = {
                **WITHOUT_AWS,
                **CREDENTIALS,
                **PATIENT,
                "AWS_ENDPOINT_URL": moto_url,
                "AWS_ENDPOINT_URL_DYNAMODB": dynamodb_url,
                "AWS_ENDPOINT_URL_BEDROCK": control.url,
                "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock,
                "COACHSTREAM_STORE": "dynamodb",
                "DYNAMODB_TABLE_NAME": table,
                "COACHSTREAM_MODEL": "bedrock",
                "COACHSTREAM_IDENTITY": "cognito",
                "USER_POOL_ID": pool.id,
                "APP_CLIENT_ID": pool.client_id,
                "COACHSTREAM_RECALL": "pinecone",
                "PINECONE_API_KEY": API_KEY,
                "PINECONE_INDEX_HOST": pinecone,
            }
            yield Elsewhere(environment, pool, table)
    finally:
        pool.close()


@dataclass
class AwsEndpoint:
    """Gives every request the same response, as an AWS service would: with or without an error code.

    Attributes:
        silence: the event that responses wait for.
        requests: the paths of the requests.
        words: the message of the error.
    """

    url: str = ""
    status: int = 200
    code: str = ""
    silence: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)
    words: str = "the service's own words"


@contextmanager
def aws_endpoint(*, status: int = 200, code: str = "", silent: bool = False) -> Iterator[AwsEndpoint]:
    """Run a server on a free port, in threads; with `silent` it sends no responses."""
    endpoint = AwsEndpoint(status=status, code=code)
    if not silent:
        endpoint.silence.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            endpoint.requests.append(self.path)
            endpoint.silence.wait()
            body = json.dumps({"__type": endpoint.code, "message": endpoint.words}).encode() if code else b""
            self.send_response(status)
            self.send_header("x-amzn-requestid", "r-1")
            self.send_header("x-amzn-errortype", code)
            self.send_header("content-type", "application/json")
            if status != 204:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield endpoint
    finally:
        endpoint.silence.set()
        server.shutdown()
        thread.join()
        server.server_close()
