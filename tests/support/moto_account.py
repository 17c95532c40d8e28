"""An AWS account of moto's, for programs that deploy to one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

REGION = "us-west-2"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


@contextmanager
def moto_account(*, host: str = "127.0.0.1", managed_policies: bool = False) -> Iterator[Mapping[str, str]]:
    """Serve an empty account during the block; yields the environment variables that lead to it.

    Args:
        host: the name in its URL. CloudFormation's templates are accepted from `localhost` only.
        managed_policies: whether it has those of AWS.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", "0"],
        env={**os.environ, "MOTO_IAM_LOAD_MANAGED_POLICIES": str(managed_policies).lower()},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stderr is not None
        try:
            port = next(
                found[1] for line in server.stderr if (found := re.search(r"127\.0\.0\.1:(\d+)", line))
            )
            # Its output is drained so that it never blocks; this ends with the server.
            with subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL):
                try:
                    yield {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_REGION": REGION, **CREDENTIALS}
                finally:
                    server.kill()
        finally:
            server.kill()
