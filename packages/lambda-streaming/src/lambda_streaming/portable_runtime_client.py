"""awslambdaric's native extension `runtime_client`, in Python.

The extension exists for Linux only; elsewhere awslambdaric installs without it and cannot request
invocations. These functions replace it, so that a function runs under the emulator on macOS as well. On
Lambda the native extension is used, except where several threads request invocations (`multi_concurrent`): it
has one connection. One contract test suite covers both.
"""

from __future__ import annotations

import http.client
import os
import sys
import threading
from collections.abc import Mapping
from urllib.parse import quote

_USER_AGENT = "aws-lambda-python"
_PREFIX = "/2018-06-01/runtime/invocation"
_DEADLINE = "Lambda-Runtime-Deadline-Ms"


class _OfThread(threading.local):
    """The connection of a thread, which makes one call at a time."""

    connection: http.client.HTTPConnection | None = None


_of_thread = _OfThread()
_user_agent = _USER_AGENT


def install() -> None:
    """Install this module in place of the extension."""
    from awslambdaric import lambda_runtime_client

    initialize_client(lambda_runtime_client._user_agent())  # noqa: SLF001 (as awslambdaric does)
    lambda_runtime_client.runtime_client = sys.modules[__name__]


def initialize_client(user_agent: str) -> None:
    """Remember the runtime's user agent."""
    global _user_agent  # noqa: PLW0603 (the extension's interface)
    _user_agent = user_agent


def next() -> tuple[bytes, dict[str, str | int]]:  # noqa: A001 (the extension's name)
    """Wait, without a timeout, for the next invocation and return its event and headers.

    Raises:
        RuntimeError: the Runtime API does not return an invocation.
    """
    status, body, found = _call("GET", f"{_PREFIX}/next")
    if status != http.client.OK:
        raise RuntimeError(f"Failed to get next: status {status}")
    headers: dict[str, str | int] = {**found}
    # The extension converts the one number; awslambdaric computes with it.
    deadline = found.get(_DEADLINE)
    return body, headers | ({} if deadline is None else {_DEADLINE: int(deadline)})


def post_invocation_result(invoke_id: str, body: bytes, content_type: str, invocation_id: str | None) -> None:
    """Report a result.

    Raises:
        RuntimeError: the Runtime API does not accept it.
    """
    _post(
        f"{_PREFIX}/{quote(invoke_id, safe='')}/response", body, {"content-type": content_type}, invocation_id
    )


def post_error(invoke_id: str, error: str, xray_fault: str, invocation_id: str | None) -> None:
    """Report an error, in awslambdaric's JSON format.

    Raises:
        RuntimeError: the Runtime API does not accept it.
    """
    headers: dict[str, str | bytes] = {"content-type": "application/json"}
    if xray_fault:
        # As bytes: http.client would refuse text outside Latin-1, and it holds the exception's message.
        headers["lambda-runtime-function-xray-error-cause"] = xray_fault.encode()
    _post(f"{_PREFIX}/{quote(invoke_id, safe='')}/error", error.encode(), headers, invocation_id)


def _post(path: str, body: bytes, headers: dict[str, str | bytes], invocation_id: str | None) -> None:
    if invocation_id:
        headers["lambda-runtime-invocation-id"] = invocation_id
    status, _, _ = _call("POST", path, body, headers)
    if not http.client.OK <= status < http.client.MULTIPLE_CHOICES:
        raise RuntimeError(f"Failed to post invocation response: status {status}")


def _call(
    method: str, path: str, body: bytes | None = None, headers: dict[str, str | bytes] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    sent = {"user-agent": _user_agent, "accept": "*/*", **(headers or {})}
    reused = _of_thread.connection is not None
    try:
        try:
            return _exchange(method, path, body, sent)
        except ConnectionError:
            # Closed while it was idle, before any response. The native extension (curl) reconnects as well.
            if not reused:
                raise
            return _exchange(method, path, body, sent)
    except (OSError, http.client.HTTPException) as error:
        raise RuntimeError(f"The Runtime API cannot be reached: {error}") from error


def _exchange(
    method: str, path: str, body: bytes | None, headers: Mapping[str, str | bytes]
) -> tuple[int, bytes, dict[str, str]]:
    connection = _of_thread.connection
    if connection is None:
        connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        _of_thread.connection = connection
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(), _in_title_case(response.getheaders())
    except (OSError, http.client.HTTPException):
        connection.close()
        _of_thread.connection = None
        raise


def _in_title_case(headers: list[tuple[str, str]]) -> dict[str, str]:
    """Header names as awslambdaric looks them up."""
    return {"-".join(part.capitalize() for part in name.split("-")): value for name, value in headers}
